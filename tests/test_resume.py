import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from detr_diff.cli import main
from tests.conftest import ROOT, TINY

EPOCHS = "stages.first.epochs=2", "stages.second.epochs=3"
# Everything that is random, and everything that must not make a difference.
DATA = "data.augment=strong", "data.registration=phase", "data.diff=stack"


def words(data_root: Path, runs: Path, workers: int, *extra: str) -> list[str]:
    listed = ["train", *TINY, f"data.root={data_root}", f"runs={runs}", *EPOCHS, *DATA]
    return [*listed, "trainer.accumulate_grad_batches=2", f"data.num_workers={workers}", *extra]


def start(listed: list[str]) -> "subprocess.Popen[bytes]":
    silent = subprocess.DEVNULL
    command = [sys.executable, "-m", "detr_diff", *listed]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=silent, stderr=silent)


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True, map_location="cpu")


def epochs_done(path: Path) -> int:
    try:
        return int(load(path)["epoch"]) + 1
    except (OSError, RuntimeError, EOFError):
        return 0


def equal(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    return bool(first == second) or first != first


@pytest.fixture(scope="module")
def unbroken(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("unbroken")
    assert main(words(data_root, runs, 0)) == 0
    return runs / "train"


# Before and at the change of stage; the unbroken run has neither workers nor a cache.
@pytest.mark.parametrize(("killed_after", "workers", "cache"), [(1, 0, "off"), (2, 2, "disk")])
def test_a_killed_run_ends_like_an_unbroken_one(
    unbroken: Path, data_root: Path, tmp_path: Path, killed_after: int, workers: int, cache: str
) -> None:
    run = tmp_path / "train"
    listed = words(data_root, tmp_path, workers, f"data.cache={cache}", f"data.cache_dir={tmp_path}/cache")
    process = start(listed)
    deadline = time.monotonic() + 120
    while epochs_done(run / "checkpoints/last.ckpt") < killed_after:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert main([*listed, "resume=true"]) == 0

    for name in ("last", "best"):
        whole, resumed = load(unbroken / f"checkpoints/{name}.ckpt"), load(run / f"checkpoints/{name}.ckpt")
        for part in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step"):
            assert equal(whole[part], resumed[part]), (name, part)
    assert (run / "metrics.json").read_bytes() == (unbroken / "metrics.json").read_bytes()
    assert rows(run) == rows(unbroken)


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_resume_without_anything_begins(data_root: Path, tmp_path: Path) -> None:
    extra = "resume=true", "trainer.max_epochs=1", "data.subset=4"
    assert main(words(data_root, tmp_path, 0, *extra)) == 0
    assert (tmp_path / "train/metrics.json").exists()
