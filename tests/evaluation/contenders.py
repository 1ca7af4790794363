"""Runs with planted predictions, as contenders and as folders of an evaluation."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from detr_diff.evaluation.contender import PAIR_ERRORS, RECORD, Contender
from detr_diff.evaluation.detection_metrics import figures
from detr_diff.evaluation.pair_errors import pair_errors, write_pair_errors
from tests.evaluation.scenes import NAMES, Boxes, record


def planted(
    found: float, seed: int, images: int = 40, truth_seed: int = 0
) -> tuple[list[Boxes], list[Boxes]]:
    """Predictions that find that share of the objects, and one false alarm in every second image."""
    of_truth, rng = np.random.default_rng(truth_seed), np.random.default_rng([1, seed])
    predictions, truths = [], []
    for _ in range(images):
        count = int(of_truth.integers(1, 5))
        corner = of_truth.uniform(0, 100, (count, 2))
        boxes = np.concatenate([corner, corner + of_truth.uniform(10, 40, (count, 2))], 1)
        labels = of_truth.integers(0, 2, count)
        kept = rng.random(count) < found
        alarms = np.repeat(rng.uniform(150, 180, (int(rng.integers(0, 2)), 2)), 2, 0).reshape(-1, 4)
        alarms[:, 2:] += 15
        own = np.concatenate([boxes[kept] + rng.normal(0, 1.5, (int(kept.sum()), 4)), alarms])
        scores = np.concatenate([rng.beta(4, 2, int(kept.sum())), rng.beta(2, 4, len(alarms))])
        predictions.append(
            {
                "boxes": torch.from_numpy(own).float(),
                "scores": torch.from_numpy(scores).float(),
                "labels": torch.from_numpy(np.append(labels[kept], np.zeros(len(alarms), int))),
            }
        )
        truths.append({"boxes": torch.from_numpy(boxes).float(), "labels": torch.from_numpy(labels)})
    return predictions, truths


def contender(
    name: str,
    predictions: Sequence[Boxes],
    truths: Sequence[Boxes],
    scenes: Sequence[str | None] | None = None,
) -> Contender:
    pairs = [f"pair{index}" for index in range(len(truths))]
    named = list(scenes or [None] * len(pairs))
    parts: list[str | None] = ["test"] * len(pairs)
    return Contender(name, Path(name), NAMES, 0.4, record(predictions, truths), pairs, named, parts)


def some_pairs(one: Contender, rows: Sequence[int]) -> Contender:
    return replace(
        one,
        record=one.record.of_images(np.array(rows)),
        pairs=[one.pairs[row] for row in rows],
        scenes=[one.scenes[row] for row in rows],
        parts=[one.parts[row] for row in rows],
    )


def write(folder: Path, one: Contender, prefix: str = "test/") -> Path:
    """As `evaluate` leaves it; with the prefix val/ as `train` does without test pairs."""
    folder.mkdir(parents=True)
    found, _ = figures(one.record, one.classes, one.threshold)
    facts = {f"{prefix}{key}": None if np.isnan(value) else value for key, value in found.items()}
    name = "evaluation.json" if prefix == "test/" else "metrics.json"
    if prefix == "test/":
        facts |= {"split": "test", "data": "/data/demo"}
    (folder / name).write_text(json.dumps(facts))
    one.record.save(folder / RECORD)
    errors = pair_errors(one.record, one.threshold)
    write_pair_errors(folder / PAIR_ERRORS, errors, one.pairs, one.scenes, one.parts)
    return folder
