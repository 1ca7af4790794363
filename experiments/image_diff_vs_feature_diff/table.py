"""Mean and spread of finished runs, one row for each way to compare two frames.

    python experiments/image_diff_vs_feature_diff/table.py result.csv runs/image/* runs/feature/*

Beside the figures of a run stand those of its evaluation on other data, `aside/evaluation.json`
in its folder, where there is one.
"""

import csv
import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path

import yaml

COLUMNS = ("map_50", "map", "f1", "aside_map_50", "aside_map", "aside_f1")


def mode_of(run: Path) -> str:
    settings = yaml.safe_load((run / "config.yaml").read_text())
    if settings["model"]["input"] == "feature_diff":
        return f"feature {settings['model']['feature_diff']['compare']}"
    return f"image {settings['data']['diff']}"


def figures_of(run: Path) -> dict[str, float]:
    """Final figures without the name of their split."""
    found = {}
    for path, prefix in ((run / "metrics.json", ""), (run / "aside/evaluation.json", "aside_")):
        if path.exists():
            for key, value in json.loads(path.read_text()).items():
                split, _, name = key.partition("/")
                if split in ("test", "val", "all"):
                    found[prefix + name] = value
    return found


def main(target: Path, runs: list[Path]) -> None:
    by_mode: dict[str, list[dict[str, float]]] = defaultdict(list)
    for run in runs:
        if (run / "metrics.json").exists():
            by_mode[mode_of(run)].append(figures_of(run))
    with target.open("x", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["mode", "seeds", *(f"{c}{s}" for c in COLUMNS for s in ("", "_spread"))])
        for mode, found in by_mode.items():
            cells = []
            for column in COLUMNS:
                values = [figures[column] for figures in found if column in figures]
                spread = statistics.stdev(values) if len(values) > 1 else float("nan")
                cells += [f"{statistics.fmean(values):.3f}", f"{spread:.3f}"] if values else ["", ""]
            rows.writerow([mode, len(found), *cells])
    print(target.read_text())


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(word) for word in sys.argv[2:]])
