"""What the page needs to say precision, recall and F1 at every threshold without a server."""

from typing import Any

import numpy as np

from detr_diff.evaluation.matching import IOU_THRESHOLDS, Matches
from detr_diff.evaluation.score_sweep import SCORE_THRESHOLDS, counts_by_score

POINTS = 150  # of a precision-recall curve


def score_counts(matches: Matches, num_classes: int) -> dict[str, Any]:
    """Whole numbers that precision, recall and F1 are made from.

    Returns:
        iou and score: the thresholds; hits [classes][IoU][score], made [classes][score] and objects
        [classes], as in `score_sweep`, for single classes.
    """
    record = matches.record
    hits = [
        counts_by_score(record.labels, matches.hits(t), record.scores, num_classes)
        for t in range(len(IOU_THRESHOLDS))
    ]
    made = counts_by_score(record.labels, np.ones(len(record.labels), np.bool_), record.scores, num_classes)
    return {
        "iou": list(IOU_THRESHOLDS),
        "score": list(SCORE_THRESHOLDS),
        "hits": np.stack(hits, axis=1).tolist(),
        "made": made.tolist(),
        "objects": np.bincount(record.object_labels, minlength=num_classes).tolist(),
    }


def precision_recall(matches: Matches, num_classes: int) -> list[list[list[tuple[float, float]]]]:
    """Precision over recall down the ranking of all predictions.

    Returns:
        [1 + classes][IoU][points], each (recall, precision) at a true positive; the first row is over
        all classes together. No points without objects.
    """
    record = matches.record
    order = np.argsort(-record.scores, kind="stable")
    rows = []
    for row in range(1 + num_classes):
        own = order if row == 0 else order[record.labels[order] == row - 1]
        objects = len(record.object_labels) if row == 0 else int((record.object_labels == row - 1).sum())
        curves = []
        for t in range(len(IOU_THRESHOLDS)):
            at = np.flatnonzero(matches.hits(t)[own])
            chosen = np.unique(np.linspace(0, len(at) - 1, min(POINTS, len(at))).round().astype(int))
            recall, precision = (chosen + 1) / max(objects, 1), (chosen + 1) / (at[chosen] + 1)
            curves.append(list(zip(recall.round(4).tolist(), precision.round(4).tolist(), strict=True)))
        rows.append(curves if objects else [[] for _ in IOU_THRESHOLDS])
    return rows
