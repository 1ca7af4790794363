"""How often `compare` calls equal models different, and how often it sees a better one.

    python -m experiments.paired_bootstrap.measure result.csv

Two models with planted predictions are compared again and again, each time on new objects: both find
the same share of the objects, or the second one finds more. Writes one line for each number of pairs
and each gain; an existing file is not overwritten.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

from detr_diff.evaluation.contest import JUDGED, Contest
from tests.evaluation.contenders import contender, planted

FOUND = 0.7  # share of the objects that the first model finds
CASES = (
    *((pairs, 0.0) for pairs in (5, 8, 12, 20, 40, 135)),
    *((40, 0.1), (135, 0.05), (135, 0.1)),
)
BELOW = (0.05, 0.25, 0.5, 0.75)


def measure(pairs: int, gain: float, times: int, resamples: int) -> list[dict[str, object]]:
    """A line of the table for each figure."""
    p = {key: [] for key in JUDGED}
    changes = {key: [] for key in JUDGED}
    covered = {key: [] for key in JUDGED}
    for number in range(times):
        runs = [
            contender(str(place), *planted(FOUND + place * gain, 2 * number + place, pairs, number))
            for place in (0, 1)
        ]
        contest = Contest.of(runs, resamples, number)
        for key in JUDGED:
            found = contest.differences[1][key]
            p[key].append(found.p)
            changes[key].append(found.value)
            covered[key].append(found.interval)
    rows = []
    for key, name in JUDGED.items():
        mean = np.mean(changes[key])  # of so many data sets: the true difference, nearly
        inside = [low <= mean <= high for low, high in covered[key] if not np.isnan(low)] or [np.nan]
        width = np.mean([high - low for low, high in covered[key]]) / 3.92
        row = {"pairs": pairs, "gain": gain, "figure": name, "comparisons": times}
        row |= {"mean_difference": round(float(mean), 4)}
        row |= {f"p_below_{q}": round(float(np.mean(np.array(p[key]) < q)), 3) for q in BELOW}
        row |= {"interval_holds_it": round(float(np.mean(inside)), 3)}
        row |= {"spread_told_over_true": round(float(width / np.std(changes[key])), 3)}
        rows.append(row)
    return rows


def main() -> None:
    """Measure all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path, help="a new CSV file")
    parser.add_argument("--times", type=int, default=300, help="comparisons")
    words = parser.parse_args()
    with words.out.open("x", newline="") as file:
        writer = None
        for pairs, gain in CASES:
            for row in measure(pairs, gain, words.times if gain == 0 else words.times // 3, 1000):
                writer = writer or csv.DictWriter(file, row)
                if file.tell() == 0:
                    writer.writeheader()
                writer.writerow(row)
                file.flush()
                print(row)


if __name__ == "__main__":
    main()
