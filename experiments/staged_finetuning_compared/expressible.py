"""Can the schedule be written? Runs every attempt and compares the rate of every parameter in every step.

python experiments/staged_finetuning_compared/expressible.py FOLDER
"""

import csv
import sys
from pathlib import Path

from attempts import ATTEMPTS
from run import train
from wanted import deviation


def main() -> None:
    """Run and write FOLDER/expressible.csv."""
    folder = Path(sys.argv[1])
    rows = []
    for number, attempt in enumerate(ATTEMPTS):
        if not attempt.schedule:
            continue
        (outcome,) = train(attempt, folder / f"expressible/{number}")
        seen = outcome.error or deviation(attempt.schedule, outcome.rates)
        own = f"{attempt.own_code} by own code" if attempt.own_code else ""
        verdict = "no" if seen else own or "yes"
        rows.append((attempt.way, attempt.schedule, attempt.how, verdict, seen))
        print(*rows[-1], sep=" | ", flush=True)
    with (folder / "expressible.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("way", "schedule", "written as", "expressible", "seen"))
        writer.writerows(rows)


if __name__ == "__main__":
    main()
