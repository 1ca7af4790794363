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

# Everything that is random, and everything that must not make a difference. Three stages; an
# incomplete accumulation window at the end of each epoch; one stage with its own batch size.
SETTINGS = (
    "stages.first.epochs=2",
    "stages.second.epochs=2",
    "+stages.third={epochs: 2, learn: [heads, decoder], lr: 1e-3, batch_size: 3}",
    "data.augment=strong",
    "data.registration=phase",
    "data.diff=stack",
    "trainer.accumulate_grad_batches=2",
    "trainer.log_every_n_steps=1",
    "checkpoint.every_n_steps=1",
    "ema.decay=0.9",
)


def words(data_root: Path, runs: Path, *extra: str) -> list[str]:
    return ["train", *TINY, f"data.root={data_root}", f"runs={runs}", *SETTINGS, *extra]


def start(listed: list[str]) -> "subprocess.Popen[bytes]":
    silent = subprocess.DEVNULL
    command = [sys.executable, "-m", "detr_diff", *listed]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=silent, stderr=silent)


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True, map_location="cpu")


def steps_done(folder: Path) -> int:
    try:
        return int(load(folder / "last.ckpt")["global_step"])
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


def assert_same_end(run: Path, unbroken: Path) -> None:
    for name in ("last", "best"):
        whole, resumed = load(unbroken / f"checkpoints/{name}.ckpt"), load(run / f"checkpoints/{name}.ckpt")
        for part in ("state_dict", "optimizer_states", "epoch", "global_step"):
            assert equal(whole[part], resumed[part]), (name, part)
    assert (run / "metrics.json").read_bytes() == (unbroken / "metrics.json").read_bytes()
    assert (run / "metrics.csv").read_bytes() == (unbroken / "metrics.csv").read_bytes()


@pytest.fixture(scope="module")
def unbroken(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("unbroken")
    assert main(words(data_root, runs)) == 0
    return runs / "train"


# In the first stage, at the change of a stage, in the last one; the unbroken run has neither
# workers nor a cache.
@pytest.mark.parametrize(
    ("kill", "after", "workers", "cache"),
    [
        (signal.SIGKILL, 1, 0, "off"),
        (signal.SIGKILL, 6, 2, "disk"),
        (signal.SIGTERM, 9, 2, "off"),
        (signal.SIGUSR1, 3, 0, "memory"),
    ],
)
def test_a_killed_run_ends_like_an_unbroken_one(
    unbroken: Path,
    data_root: Path,
    tmp_path: Path,
    kill: signal.Signals,
    after: int,
    workers: int,
    cache: str,
) -> None:
    run = tmp_path / "train"
    own = f"data.num_workers={workers}", f"data.cache={cache}", f"data.cache_dir={tmp_path}/cache"
    listed = words(data_root, tmp_path, *own, "resume=true")
    process = start(listed)
    deadline = time.monotonic() + 120
    while steps_done(run / "checkpoints") < after:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(kill)
    process.wait(60)
    assert process.returncode == (75 if kill != signal.SIGKILL else -kill)
    assert main(listed) == 0
    assert_same_end(run, unbroken)
