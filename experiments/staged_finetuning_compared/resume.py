"""Does a killed run, resumed, end like the unbroken one, bit for bit?

    python experiments/staged_finetuning_compared/resume.py FOLDER

Every attempt that expresses its schedule is killed (SIGKILL) before, at and after each thaw, between
two epochs and inside them, and goes on from its newest checkpoint.
"""

import csv
import sys
from pathlib import Path

import torch
from attempt import Attempt
from attempts import ATTEMPTS
from comparison import COLUMNS, compare
from record import Outcome
from run import train
from wanted import STEPS, deviation

# Epoch and batch before which it is killed. The thaws are at epochs 2 and 4.
POINTS = [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (1, 3), (2, 3), (3, 3), (4, 3), (5, 3)]


def newest(run: Path) -> Path:
    """The checkpoint that was written last."""
    return max(run.rglob("*.ckpt"), key=lambda path: path.stat().st_mtime)


def main() -> None:
    """Run and write FOLDER/resume.csv."""
    folder = Path(sys.argv[1])
    rows = []
    for number, attempt in enumerate(ATTEMPTS):
        own = folder / f"resume/{number}"
        (whole,) = train(attempt, own / "whole")
        if whole.error or (attempt.schedule and deviation(attempt.schedule, whole.rates)):
            continue
        (again,) = train(attempt, own / "again")
        assert compare(whole, again, 0) == ("yes", "yes", "yes", ""), "it is not deterministic"
        for epoch, batch in POINTS:
            for row in killed_and_resumed(attempt, own / f"{epoch}_{batch}", whole, epoch, batch):
                rows.append(row)
                print(*row, sep=" | ", flush=True)
    with (folder / "resume.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("way", "schedule", "written as", "resumed by", "epoch", "batch", *COLUMNS))
        writer.writerows(rows)


def killed_and_resumed(
    attempt: Attempt, run: Path, whole: Outcome, epoch: int, batch: int
) -> list[tuple[str | int, ...]]:
    """Kill before that batch, resume in each way, compare."""
    (killed,) = train(attempt, run, kill=(epoch, batch))
    assert killed.error == "killed", killed.error
    checkpoint = newest(run)
    step = torch.load(checkpoint, weights_only=False)["global_step"]
    assert step == epoch * STEPS + batch, (checkpoint, step)
    rows = []
    for call in attempt.calls:
        (resumed,) = train(attempt, run, resume=checkpoint, call=call)
        seen = compare(whole, resumed, epoch * STEPS + batch)
        rows.append((attempt.way, attempt.schedule, attempt.how, call, epoch, batch, *seen))
    return rows


if __name__ == "__main__":
    main()
