"""Times of whole commands: until the first training step, of --help, and of a wrong setting."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter, sleep

from detr_diff.bench.measurement import Row
from detr_diff.bench.side import PACKAGE, Failed, Side
from detr_diff.data.synthetic import SceneSettings, generate

LOOK = 0.005  # seconds between looks whether the first step is done
COMMAND = (sys.executable, "-m", "detr_diff")


def answers(turns: int) -> list[Row]:
    """`--help` and a mistyped setting."""
    rows = []
    for case, words in (
        ("detr-diff --help", ["--help"]),
        ("train --help", ["train", "--help"]),
        ("a wrong setting", ["train", "data.subsett=3"]),
    ):
        row = Row("help", case, "command", None, {"ours": []})
        for _ in range(turns):
            start = perf_counter()
            subprocess.run(
                [*COMMAND, *words], capture_output=True, check=False, env=environment(), timeout=120
            )
            row.seconds["ours"].append(perf_counter() - start)
        rows.append(row)
    return rows


def demo_data(root: Path, pairs: int) -> Path:
    """The data of the demo, or the beginning of it."""
    if not root.exists():
        for _ in generate(root, pairs, max(4, pairs // 20), SceneSettings()):
            pass
    return root


def first_step(words: Sequence[str], folder: Path, log: Path) -> float:
    """Seconds from the command `train` to its first optimizer step.

    A checkpoint is asked for after each step, so that the step is seen from outside; writing it is in
    the time.

    Args:
        words: Settings of train.
        folder: For its runs.
        log: For what it writes.

    Raises:
        Failed: It ended before.
    """
    words = [*words, f"runs={folder}", "run_name=first_step", "checkpoint.every_n_steps=1"]
    done = folder / "first_step" / "checkpoints" / "last.ckpt"
    start = perf_counter()
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [*COMMAND, "train", *words], stdout=output, stderr=output, env=environment()
        )
        try:
            while not done.exists():
                if process.poll() is not None:
                    raise Failed(log.read_text(encoding="utf-8").strip().splitlines()[-1])
                sleep(LOOK)
            return perf_counter() - start
        finally:
            process.kill()
            process.wait()


def reference_first_step(command: Sequence[str], job: Mapping[str, object], log: Path) -> float:
    """Seconds from the start of the reference to its first step."""
    start = perf_counter()
    with Side(command, log) as side:
        side.prepare({**job, "task": "fit", "unit": "step", "warm": 1})
        return perf_counter() - start


def environment() -> dict[str, str]:
    """Of a command; it sees what this process sees, wherever it was started."""
    path = os.pathsep.join(dict.fromkeys([str(PACKAGE.parent), *sys.path[1:]]))
    return {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": path}
