"""Miniature generated data, a trained run on it, and the real command line."""

import os

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ.update(HF_HUB_OFFLINE="1", WANDB_SILENT="true", MPLBACKEND="Agg")

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest
import torch

from detr_diff.cli import main

ROOT = Path(__file__).parents[1]
torch.set_num_threads(1)
hypothesis.settings.register_profile("house", deadline=None, max_examples=60, derandomize=True)
hypothesis.settings.load_profile("house")

# A run of seconds: two stages, an RT-DETR at 64x64.
TINY = (
    "model=rt_detr_small",
    "model.processor.size={height: 64, width: 64}",
    "model.config.d_model=32",
    "model.config.encoder_hidden_dim=32",
    "model.config.decoder_in_channels=[32,32,32]",
    "model.config.decoder_layers=1",
    "model.config.num_queries=12",
    "model.config.num_denoising=6",
    "data.batch_size=4",
    "data.eval_batch_size=4",  # several batches of a few pairs
    "data.split_by=scene",
    "data.val=0.2",
    "data.test=0.2",
    "trainer.accumulate_grad_batches=1",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
    "logger=csv",
    "overlays=2",
    "report=false",
    "checkpoint.every_minutes=0",
    "stages=all",
    "~stages.all",
    "+stages.first={epochs: 1, learn: heads, lr: 1e-3}",
    "+stages.second={epochs: 1, learn: all, lr: {all: 1e-3, backbone: 1e-4}}",
)


@dataclass
class Result:
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """The command line, in this process."""

    def run(*words: str) -> Result:
        capfd.readouterr()
        code = main(words)
        captured = capfd.readouterr()
        return Result(code, captured.out, captured.err)

    return run


def shell(words: Sequence[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "detr_diff", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 generated pairs of 10 scenes, 64x64."""
    root = tmp_path_factory.mktemp("data") / "mini"
    assert main(["data", "synth", f"out={root}", "pairs=30", "scenes=10", "width=64", "height=64"]) == 0
    return root


@pytest.fixture(scope="session")
def run_dir(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training run on the miniature data."""
    runs = tmp_path_factory.mktemp("runs")
    words = [*(word for word in TINY if word != "report=false"), "run_name=tiny"]
    assert main(["train", *words, f"data.root={data_root}", f"runs={runs}"]) == 0
    return runs / "tiny"
