"""Runs that are killed at any moment, and what must be the same in the end."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

# Forked from a process that has everything imported: a kill costs no import.
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["detr_diff.verbs.train", "detr_diff.sweep", "tests.killing"])

# Everything that is random, and everything that must not make a difference: three stages, one
# with its own batch size; an incomplete accumulation window at the end of each epoch.
STAGED = (
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
# Validation in the middle of epochs, stages that run out of patience, bf16, compiled.
EARLY = (
    "stages.first.epochs=4",
    "+stages.first.patience=2",
    "stages.second.epochs=3",
    "early_stopping.patience=3",
    "early_stopping.min_delta=2.0",
    "early_stopping.monitor=val/f1",
    "trainer.val_check_interval=2",
    "trainer.precision=bf16-mixed",
    "compile=eager",
    "checkpoint.every_n_steps=2",
)
# Layers, expressions, multiples and decay by depth; stages end and begin between the kills.
CHOSEN = (
    "stages.first.learn=[heads, 'decoder[-1:]', /.*norm.*/]",
    "stages.second.epochs=2",
    "+stages.second.freeze='backbone[:-2]'",
    "optimizer.multiples={backbone: 0.1, /.*bias/: 0.5}",
    "optimizer.layer_decay=0.7",
    "data.subset=8",
    "checkpoint.every_n_steps=1",
    "overlays=0",
)

DOUBLE = ("trainer.precision=64", "data.subset=8", "checkpoint.every_n_steps=1", "overlays=0")


@dataclass(frozen=True)
class Kill:
    """One way to end a run.

    Attributes:
        how: A signal sent after some seconds; `write`: killed in the middle of writing a
            checkpoint; `commit`: killed before a written checkpoint takes its place.
        after: Seconds, or how many writes or replacements go well.
    """

    how: str
    after: float


def random_kills(generator: random.Random, count: int, seconds: float) -> list[Kill]:
    """Kills of every sort at random moments of a run of so many seconds."""
    kills = []
    for _ in range(count):
        how = generator.choice(["SIGKILL", "SIGKILL", "SIGTERM", "SIGUSR1", "write", "commit"])
        timed = how.startswith("SIG")
        kills.append(Kill(how, generator.uniform(0.3, seconds) if timed else generator.randrange(6)))
    return kills


def run_and_kill(words: Sequence[str], kills: Iterable[Kill]) -> list[int]:
    """Start a run, kill it, start it again, ... and at last let it end.

    Returns:
        The exit code of each start, up to the one that ended.
    """
    codes = []
    for kill in (*kills, None):
        codes.append(_start(words, kill))
        if codes[-1] == 0:
            break
    return codes


def _start(words: Sequence[str], kill: Kill | None) -> int:
    process = FORKED.Process(target=_run, args=(list(words), kill))
    process.start()
    if kill is not None and kill.how.startswith("SIG"):
        process.join(kill.after)
        if process.is_alive():
            os.kill(process.pid or 0, signal.Signals[kill.how])
    process.join(1500)  # a compiled run may take long
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def _run(words: list[str], kill: Kill | None) -> None:
    from detr_diff.cli import main
    from detr_diff.training import checkpoints

    torch.set_num_threads(1)
    left = kill.after if kill is not None else 0
    save, replace = torch.save, os.replace

    def broken_save(checkpoint: Any, file: Any) -> None:
        nonlocal left
        save(checkpoint, file)
        left -= 1
        if left < 0:
            file.truncate(file.tell() // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    def broken_replace(source: Any, target: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    if kill is not None and kill.how == "write":
        checkpoints.torch.save = broken_save  # type: ignore[attr-defined]
    if kill is not None and kill.how == "commit":
        checkpoints.os.replace = broken_replace  # type: ignore[attr-defined]
    with open(os.devnull, "w") as silent, redirect_stdout(silent), redirect_stderr(silent):
        code = main(words)
    os._exit(code)


def load(path: Path) -> dict[str, Any]:
    """A checkpoint."""
    checkpoint: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    return checkpoint


def equal(first: Any, second: Any) -> bool:
    """Bit for bit, through dicts and lists."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    return bool(first == second) or first != first


def assert_same_end(run: Path, unbroken: Path) -> None:
    """Weights, averaged weights, optimizer state, best checkpoint and every figure are the same."""
    for name in ("last", "best"):
        whole, resumed = load(unbroken / f"checkpoints/{name}.ckpt"), load(run / f"checkpoints/{name}.ckpt")
        of_training = ("optimizer_states", "callbacks") if name == "last" else ()
        for part in ("state_dict", "epoch", "global_step", *of_training):
            first, second = whole[part], resumed[part]
            if part == "callbacks":  # the paths differ
                first, second = (
                    {k: v for k, v in one.items() if "Model" not in k} for one in (first, second)
                )
            assert equal(first, second), (name, part)
    for name in ("metrics.json", "metrics.csv", "score_sweep.csv"):
        assert (run / name).read_bytes() == (unbroken / name).read_bytes(), name


def timed(words: Sequence[str]) -> float:
    """Seconds that an unbroken run takes."""
    begin = time.monotonic()
    assert run_and_kill(words, []) == [0]
    return time.monotonic() - begin
