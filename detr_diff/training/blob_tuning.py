"""Choosing the numbers of threshold_blobs on labelled pairs."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from detr_diff.data.dataset import MovedObjectDataset
from detr_diff.data.truth import truths_in_pixels
from detr_diff.errors import SettingError
from detr_diff.evaluation.average_precision import averages
from detr_diff.evaluation.detection_metrics import figures
from detr_diff.evaluation.detection_record import DetectionRecord
from detr_diff.evaluation.matching import Matches, match
from detr_diff.evaluation.overlap import overlaps
from detr_diff.evaluation.record import Record
from detr_diff.model.threshold_blobs import Blobs, ThresholdBlobs, amount_of, find_blobs

log = logging.getLogger(__name__)

CHOICES = {
    "difference": (8.0, 12.0, 18.0, 27.0, 40.0, 60.0, 90.0),
    "opening": (0.0, 0.005, 0.01),
    "closing": (0.0, 0.01, 0.02, 0.04),
    "margin": (0.0, 0.005, 0.01, 0.02, 0.03),
    "smallest": (0.0, 0.0002, 0.0006, 0.002, 0.006),
}
"""What is tried of each setting that is not given; every combination of them."""
WORTH = 0.05  # AP50 that a margin must gain


class Numbers(NamedTuple):
    """What is tuned, see ThresholdBlobs."""

    difference: float
    opening: float
    closing: float
    margin: float
    smallest: float


@dataclass(frozen=True)
class Tuned:
    """What tuning has found.

    Attributes:
        blobs: The detector.
        threshold: Score threshold of best F1 on the tuning pairs if the class did not matter.
        map_50: AP50 there if the class did not matter.
        pairs: Names of the tuning pairs.
    """

    blobs: ThresholdBlobs
    threshold: float
    map_50: float
    pairs: tuple[str, ...]


def tune(
    dataset: MovedObjectDataset, names: Sequence[str], given: Mapping[str, float | None], most: int
) -> Tuned:
    """Try every combination of what is not given and keep that of the highest AP50, see `_choose`.

    The class plays no part in it. Every region then gets the most frequent class of these pairs.

    Args:
        dataset: Unprocessed absolute differences, not augmented.
        names: Class names.
        given: The keys of CHOICES; None for what is to be tuned.
        most: So many pairs are used at most, evenly spaced.

    Raises:
        SettingError: There is no object in the pairs.
    """
    positions = np.unique(np.linspace(0, len(dataset) - 1, most).astype(int)).tolist()
    tried = {key: CHOICES[key] if value is None else (float(value),) for key, value in given.items()}
    shapes = [*product(tried["difference"], tried["opening"], tried["closing"])]
    found: dict[tuple[float, float, float], list[Blobs]] = {shape: [] for shape in shapes}
    targets = []
    for position in positions:
        image, target = dataset[position]
        targets.append(target)
        amount = amount_of(image)
        for shape in shapes:
            found[shape].append(find_blobs(amount, *shape))
    truths = truths_in_pixels(targets)
    metric, empty = DetectionRecord(), truths[0]["boxes"][:0]
    nothing = {"boxes": empty, "scores": empty[:, 0], "labels": truths[0]["labels"][:0]}
    metric.update([nothing] * len(truths), truths, positions)
    truth = metric.compute()
    if not len(truth.object_labels):
        raise SettingError(f"model=threshold_blobs: no object in the {len(positions)} pairs to be tuned on")
    label = int(np.bincount(truth.object_labels, minlength=len(names)).argmax())
    values: dict[Numbers, float] = {}
    for shape, margin, smallest in product(shapes, tried["margin"], tried["smallest"]):
        matches = _any_class(_record(truth, found[shape], margin, smallest, label))
        values[Numbers(*shape, margin, smallest)] = float(averages(matches, 1).precision[0, 0, 0, 0])
    chosen = _choose(values)
    record = _record(truth, found[chosen[:3]], chosen.margin, chosen.smallest, label)
    right = record.scores[_any_class(record).hits(0)]
    half = float(np.median(right)) if len(right) else 1.0
    blobs = ThresholdBlobs(*chosen, half=half, label=label)
    scored = record.any_class()._replace(scores=blobs.score(record.scores))
    threshold = figures(scored, ["any"])[1].best_threshold()
    pairs = tuple(dataset.pairs[position].pair.name for position in positions)
    return Tuned(blobs, threshold, values[chosen], pairs)


def _choose(values: Mapping[Numbers, float]) -> Numbers:
    """The numbers of the highest value with the smallest margin that is nearly as good as any.

    What a margin gains by being fitted to the size of these objects does not carry over to others.
    """
    for margin in sorted({numbers.margin for numbers in values}):
        best = max((numbers for numbers in values if numbers.margin == margin), key=lambda own: values[own])
        if values[best] >= max(values.values()) - WORTH:
            break
    return best


def _record(truth: Record, found: Sequence[Blobs], margin: float, smallest: float, label: int) -> Record:
    """The blobs as predictions with their strengths as scores."""
    image = np.repeat(np.arange(len(found)), [len(blobs.areas) for blobs in found])
    boxes = np.concatenate([blobs.grown(margin) for blobs in found])
    areas = np.concatenate([blobs.areas for blobs in found])
    strengths = np.concatenate([blobs.strengths for blobs in found])
    rows = np.lexsort((-strengths, image))
    rows = rows[areas[rows] >= smallest]
    labels = np.full(len(rows), label)
    return truth._replace(image=image[rows], boxes=boxes[rows], scores=strengths[rows], labels=labels)


def _any_class(record: Record) -> Matches:
    """Matched at IoU 0.5 as if there were one class only."""
    record = record.any_class()
    return match(record, overlaps(record, 0.5), (0.5,))
