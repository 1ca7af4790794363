"""Memory and time of data sets of 1,000 to 1,000,000 pairs; writes scale.csv beside this file.

    python experiments/data_scale/measure.py SCRATCH_FOLDER [most pairs]

Every pair has its own label file with three objects; the frames are sixteen pictures that all
share, so that what is measured is discovery, labels and bookkeeping.
"""

import csv
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import RTDetrImageProcessor

from detr_diff.data.check import check
from detr_diff.data.dataset import MovedObjectDataset
from detr_diff.data.diff import Comparison
from detr_diff.data.discovery import discover
from detr_diff.data.labels import read_labels

FRAMES = 16


def generate(root: Path, pairs: int) -> None:
    """Write the data set; label files of a smaller one are kept."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(FRAMES):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(root / f"images/{index}.png")
    with (root / "pairs.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("pair", "scene", "before", "after", "label"))
        for index in range(pairs):
            name = f"camera_{index // 1000:04d}/pair_{index:07d}"
            label = root / f"labels/{name}.txt"
            if not label.exists():
                label.parent.mkdir(parents=True, exist_ok=True)
                boxes = rng.uniform(0.2, 0.4, (3, 4))
                label.write_text("".join(f"0 {a:.6f} {b:.6f} {c:.6f} {d:.6f}\n" for a, b, c, d in boxes))
            frames = (f"images/{(index + step) % FRAMES}.png" for step in (0, 1))
            rows.writerow((name, f"camera_{index // 1000:04d}", *frames, f"labels/{name}.txt"))


def resident(kind: str, process: str = "self") -> float:
    """Megabytes of a process: Rss, Private_Dirty, ..."""
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(kind)


def measure(root: Path, pairs: int) -> dict[str, float]:
    """Figures of a data set of that size; call it in a fresh process."""
    generate(root, pairs)
    before = resident("Rss")
    start = time.perf_counter()
    found = discover(root)
    discovered = time.perf_counter()
    report = check(found, ["thing"])
    checked = time.perf_counter()
    assert len(report.pairs) == pairs
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    dataset = MovedObjectDataset(report.pairs, Comparison(), RTDetrImageProcessor())
    kept = resident("Rss") - before
    shown = min(pairs, 100_000)
    parsing = time.perf_counter()
    for index in range(shown):
        label = report.pairs.pairs[index].label
        assert label is not None
        read_labels(label, ["thing"])
    parsed = time.perf_counter()
    return {
        "pairs": pairs,
        "discovery s": discovered - start,
        "check s": checked - discovered,
        "labels of 100,000 s": (parsed - parsing) * 100_000 / shown,
        "kept MB": kept,
        "peak MB": peak - before,
        "worker's own MB": worker(dataset),
    }


class Probe(torch.utils.data.Dataset):
    """Looks at every pair's objects in a worker, then tells what memory the worker has for itself."""

    def __init__(self, dataset: MovedObjectDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> float:
        before = resident("Private_Dirty", str(os.getpid()))
        for position in range(len(self.dataset)):
            self.dataset.pairs[position]
        return resident("Private_Dirty", str(os.getpid())) - before


def worker(dataset: MovedObjectDataset) -> float:
    """Megabytes that a worker copies when it has looked at all pairs."""
    loader = torch.utils.data.DataLoader(
        Probe(dataset), batch_size=None, num_workers=1, multiprocessing_context="fork"
    )
    return float(next(iter(loader)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    scratch, most = Path(sys.argv[1]), int(float(sys.argv[2])) if len(sys.argv) > 2 else 1_000_000
    results = []
    for size in (1_000, 10_000, 100_000, 1_000_000):
        if size <= most:
            child = os.fork()  # a fresh process for each size, for its peak
            if not child:
                figures = measure(scratch, size)
                (scratch / "figures.txt").write_text(repr(figures))
                os._exit(0)
            if os.waitpid(child, 0)[1]:
                sys.exit(f"measuring {size} pairs failed")
            results.append(eval((scratch / "figures.txt").read_text()))
            print({key: round(value, 2) for key, value in results[-1].items()}, flush=True)
    with Path(__file__).with_name("scale.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, results[0])
        table.writeheader()
        table.writerows({key: round(value, 2) for key, value in row.items()} for row in results)
