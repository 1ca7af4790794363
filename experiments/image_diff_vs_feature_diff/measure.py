"""Processor time and memory of a training step with each way to compare two frames, in turns in one process.

OMP_NUM_THREADS=1 python experiments/image_diff_vs_feature_diff/measure.py demo data/demo cost.csv
"""

import csv
import statistics
import sys
import time
from pathlib import Path

import torch
from modes import MODES

from detr_diff.compose import compose
from detr_diff.data.batch import collate
from detr_diff.training.examinations.trial import Trial
from detr_diff.verbs.parts import data_module, new_detector, stage_plan, take_both_frames

ROUNDS, WARM = 25, 3


def trial(experiment: str, root: str, words: list[str]) -> Trial:
    """The first training batch, ready to be learnt."""
    settings = compose("train", [f"experiment={experiment}", f"data.root={root}", *words])
    take_both_frames(settings)
    detector, _ = new_detector(settings, stage_plan(settings))
    data = data_module(settings, detector)
    data.setup()
    size = settings.data.batch_size
    batch = collate([data.datasets["train"][index] for index in range(size)])
    return Trial(detector, batch, dict.fromkeys(detector.plan.stages[0].rates, 1.0), size)


def main(experiment: str, root: str, target: Path) -> None:
    torch.set_num_threads(1)
    trials = {name: trial(experiment, root, words) for name, words in MODES.items()}
    seconds: dict[str, list[float]] = {name: [] for name in trials}
    for own in trials.values():
        own.restart()
    for number in range(WARM + ROUNDS):
        for name, own in trials.items():
            start = time.process_time()
            own.step(0.0, number)
            seconds[name].append(time.process_time() - start)
    image = statistics.median(seconds["image abs"][WARM:])
    with target.open("x", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["mode", "parameters", "processor_seconds_a_step", "ratio", "megabytes_for_backward"])
        for name, own in trials.items():
            median = statistics.median(seconds[name][WARM:])
            kept = own.saved_bytes(own.part(0)) / 1e6
            count = sum(p.numel() for p in own.detector.detr.parameters())
            rows.writerow([name, count, f"{median:.3f}", f"{median / image:.2f}", f"{kept:.0f}"])
    print(target.read_text())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
