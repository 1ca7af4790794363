"""Precision, recall and F1 over all IoU and score thresholds, from one matching."""

from dataclasses import dataclass

import numpy as np

from detr_diff.evaluation.matching import IOU_THRESHOLDS, Matches
from detr_diff.evaluation.record import Floats, Ints, Mask

SCORE_THRESHOLDS = tuple(round(0.05 + 0.01 * step, 2) for step in range(91))
DEFAULT_THRESHOLD = 0.5  # where every F1 is 0, no threshold is better than another


@dataclass
class Sweep:
    """Precision, recall and F1.

    The first row of each array is over all classes together, the others are the classes in
    order. Precision without predictions and recall without objects count as 0.

    Attributes:
        precision: [1 + classes, IoU thresholds, score thresholds].
        recall: The same shape.
        f1: The same shape.
    """

    precision: Floats
    recall: Floats
    f1: Floats

    def best_threshold(self) -> float:
        """The score threshold of the best F1 at IoU 0.5, over all classes."""
        return SCORE_THRESHOLDS[int(best_column(self.f1[0, IOU_THRESHOLDS.index(0.5)]))]

    def at(self, score: float, iou: float = 0.5, row: int = 0) -> tuple[float, float, float]:
        """Precision, recall and F1 at the grid point next to a score threshold."""
        place = (row, IOU_THRESHOLDS.index(iou), column(score))
        return float(self.precision[place]), float(self.recall[place]), float(self.f1[place])

    def rows(self) -> list[tuple[float, float, float, float, float]]:
        """(IoU, score, precision, recall, F1) over all classes."""
        return [
            (iou, score, float(self.precision[0, t, s]), float(self.recall[0, t, s]), float(self.f1[0, t, s]))
            for t, iou in enumerate(IOU_THRESHOLDS)
            for s, score in enumerate(SCORE_THRESHOLDS)
        ]


def column(score: float) -> int:
    """The grid point next to a score threshold."""
    return int(np.abs(np.array(SCORE_THRESHOLDS) - score).argmin())


def best_column(f1: Floats) -> Ints:
    """The grid point of the best F1, [..., score thresholds] to [...].

    Of several equal ones the middle one, the farthest from doing worse.
    """
    best = f1 == f1.max(axis=-1, keepdims=True)
    middle = (np.cumsum(best, axis=-1) > best.sum(axis=-1, keepdims=True) // 2).argmax(axis=-1)
    return np.where(f1.max(axis=-1) > 0, middle, column(DEFAULT_THRESHOLD))


def rates(hits: Ints | Floats, made: Ints | Floats, objects: Ints | Floats) -> tuple[Floats, Floats, Floats]:
    """Precision, recall and F1 of numbers of true positives, predictions and objects; 0 for 0 / 0."""
    return (
        hits / np.maximum(made, 1),
        hits / np.maximum(objects, 1),
        2 * hits / np.maximum(made + objects, 1),
    )


def undefined(made: Ints | Floats, objects: Ints | Floats) -> dict[str, Mask]:
    """Where numbers of predictions and objects leave a rate without a meaning.

    Without objects there is nothing to recall; without predictions either, a model is right that
    says nothing, and no rate of it is 0.
    """
    nothing = (made == 0) & (objects == 0)
    return {"precision": nothing, "recall": objects == 0, "f1": nothing}


def score_sweep(matches: Matches, num_classes: int) -> Sweep:
    """The sweep of all predictions, at the IoU thresholds of the grid."""
    record = matches.record
    hits = np.stack(
        [
            counts_by_score(record.labels, matches.hits(t), record.scores, num_classes)
            for t in range(len(IOU_THRESHOLDS))
        ],
        axis=1,
    )
    made = counts_by_score(record.labels, np.ones(len(record.labels), np.bool_), record.scores, num_classes)
    objects = np.bincount(record.object_labels, minlength=num_classes)
    return Sweep(*rates(with_total(hits), with_total(made)[:, None], with_total(objects)[:, None, None]))


def counts_by_score(groups: Ints, chosen: Mask, scores: Floats, number: int) -> Ints:
    """How many of the chosen predictions of each group reach each score threshold.

    Args:
        groups: [D], class, image or scene of each prediction.
        chosen: bool [D].
        scores: [D].
        number: Of groups.

    Returns:
        [number, score thresholds].
    """
    # float32 scores: 0.3 as float32 is above 0.3 as float64
    reached = np.searchsorted(SCORE_THRESHOLDS, np.round(scores[chosen], 6), side="right")
    width = len(SCORE_THRESHOLDS) + 1
    counts = np.bincount(groups[chosen] * width + reached, minlength=number * width).reshape(number, width)
    # A prediction counts at every score threshold up to its own score.
    return counts[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]


def with_total(counts: Ints) -> Ints:
    """Counts of classes [C, ...] with that of all in front, [1 + C, ...]."""
    return np.concatenate([counts.sum(axis=0, keepdims=True), counts])
