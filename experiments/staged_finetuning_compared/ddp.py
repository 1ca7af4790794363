"""Do two processes (gloo) hold the same weights, bit for bit, after every epoch?

python experiments/staged_finetuning_compared/ddp.py FOLDER
"""

import csv
import sys
from pathlib import Path

import torch
from attempts import ATTEMPTS
from record import Outcome
from run import train
from wanted import EPOCHS, deviation, part_of


def differ(outcomes: list[Outcome]) -> str:
    """Where the two ranks differ first, in words; empty for nowhere."""
    first, second = outcomes
    for epoch in range(EPOCHS):
        one, other = first.weights[epoch], second.weights[epoch]
        names = [name for name in one if not torch.equal(one[name], other[name])]
        if names:
            parts = ", ".join(sorted({part_of(name) for name in names}))
            largest = max(float((one[name] - other[name]).abs().max()) for name in names)
            return f"from epoch {epoch} on: {len(names)} tensors ({parts}), by up to {largest:.1e}"
    return ""


def main() -> None:
    """Run and write FOLDER/ddp.csv."""
    folder = Path(sys.argv[1])
    rows = []
    for number, attempt in enumerate(ATTEMPTS):
        (alone,) = train(attempt, folder / f"ddp/{number}/alone")
        if alone.error or (attempt.schedule and deviation(attempt.schedule, alone.rates)):
            continue
        for strategy in attempt.strategies:
            outcomes = train(attempt, folder / f"ddp/{number}/{strategy}", strategy=strategy, ranks=2)
            error = next((outcome.error for outcome in outcomes if outcome.error), "")
            seen = error or differ(outcomes)
            verdict = "no" if seen else "yes"
            rows.append((attempt.way, attempt.schedule, attempt.how, strategy, verdict, seen))
            print(*rows[-1], sep=" | ", flush=True)
    with (folder / "ddp.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("way", "schedule", "written as", "strategy", "in sync", "seen"))
        writer.writerows(rows)


if __name__ == "__main__":
    main()
