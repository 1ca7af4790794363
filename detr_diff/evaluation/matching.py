"""Greedy matching of predictions to true boxes, in score order."""

import numpy as np
import numpy.typing as npt


def match(iou: npt.NDArray[np.float64], thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which predictions find an object, at several IoU thresholds at once.

    Each prediction takes the free object that it overlaps most, if by at least the threshold,
    as in the COCO evaluation. Predictions come in descending order of score; so the answer for
    the first n of them does not depend on the others, and one matching serves every score
    threshold.

    Args:
        iou: [D, G], intersection over union of predictions and objects of one class.
        thresholds: [T], IoU thresholds.

    Returns:
        [T, D], True where a prediction is a true positive.
    """
    predictions, objects = iou.shape
    found = np.zeros((len(thresholds), predictions), np.bool_)
    if not objects:
        return found
    rows = np.arange(len(thresholds))
    free = np.ones((len(thresholds), objects), np.bool_)
    for index in np.flatnonzero(iou.max(axis=1) >= thresholds.min()):
        candidates = np.where(free, iou[index], -1.0)
        best = candidates.argmax(axis=1)
        hit = candidates[rows, best] >= thresholds
        found[:, index] = hit
        free[rows[hit], best[hit]] = False
    return found
