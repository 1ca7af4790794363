"""Which class is taken for which, and what is taken for background."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detr_diff.evaluation.overlap import overlaps
from detr_diff.evaluation.record import Ints, Record

BACKGROUND = "background"


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix with background.

    Attributes:
        names: Class names, background last.
        counts: [1 + classes, 1 + classes], true class in rows, predicted class in columns. The last
            column has the objects that were not found, the last row the false positives where no
            object is.
        threshold: Predictions with at least this score were counted.
        iou: Prediction and object overlap by at least this much.
    """

    names: list[str]
    counts: Ints
    threshold: float
    iou: float

    def facts(self) -> dict[str, Any]:
        """As primitives."""
        return {
            "classes": self.names,
            "rows_true_columns_predicted": self.counts.tolist(),
            "score_threshold": self.threshold,
            "iou": self.iou,
        }


def confusion(record: Record, names: Sequence[str], threshold: float, iou: float = 0.5) -> Confusion:
    """Give each prediction at most one object of any class, and each object at most one prediction.

    Pairs of the same class come first, then those that overlap most, as in the library supervision.
    So it can happen, where several objects of a class overlap, that the diagonal has a few more or
    fewer true positives than the matching in order of scores that precision and recall stand for.
    """
    shown = record.above(threshold)
    pairs = overlaps(shown, iou)
    found = np.full(len(shown.labels), -1)
    free = np.ones(len(shown.object_labels), np.bool_)
    for index in np.lexsort((-pairs.iou, ~pairs.same_class(shown))).tolist():
        prediction, row = pairs.prediction[index], pairs.object[index]
        if found[prediction] < 0 and free[row]:
            found[prediction], free[row] = row, False
    background = len(names)
    true = np.where(found >= 0, np.append(shown.object_labels, background)[found], background)
    counts = np.zeros((background + 1, background + 1), np.int64)
    np.add.at(counts, (true, shown.labels), 1)
    counts[:-1, background] += np.bincount(shown.object_labels[free], minlength=background)
    return Confusion([*names, BACKGROUND], counts, threshold, iou)
