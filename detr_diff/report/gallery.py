"""The pairs of the page: their pictures, true and predicted boxes, and what is wrong with each box."""

from typing import Any

import numpy as np

from detr_diff.evaluation.error_parts import RIGHT
from detr_diff.evaluation.error_sweep import ErrorSweep
from detr_diff.evaluation.object_size import third_of, thirds
from detr_diff.evaluation.record import Floats, Ints, Record, at_least
from detr_diff.evaluation.score_sweep import SCORE_THRESHOLDS
from detr_diff.report.thumbnails import Budget, thumbnails
from detr_diff.training.results import Results

MOST_PAIRS = 1000  # more would have pictures too small to see anything


def chosen_pairs(record: Record, sweep: ErrorSweep, threshold: float, most: int = MOST_PAIRS) -> Ints:
    """Rows of the images that are shown, in order: all, or three quarters the worst and the rest the best.

    Args:
        record: Predictions and objects.
        sweep: Of the same record.
        threshold: The errors are those at this score threshold.
        most: So many at most.
    """
    number = len(record.images)
    if number <= most:
        return np.arange(number)
    wrong = (sweep.kind != RIGHT) & at_least(record.scores, threshold)
    lost = ~at_least(np.maximum(sweep.found, sweep.covered), threshold)
    errors = np.bincount(record.image[wrong], minlength=number)
    errors += np.bincount(record.object_image[lost], minlength=number)
    order = np.argsort(-errors, kind="stable")
    worst = most * 3 // 4
    return np.sort(np.concatenate([order[:worst], order[worst - most :]]))


def gallery(results: Results, record: Record, sweep: ErrorSweep, rows: Ints) -> list[dict[str, Any]]:
    """The pairs of these rows as primitives, for the page's script.

    Returns:
        For each pair name, scene, width, height in pixels, frames (data URIs of before, after, diff,
        null where there is none), objects (x0, y0, x1, y1, label, found, covered: see ErrorSweep, size:
        position in THIRDS) and predictions (x0, y0, x1, y1, label, score, kind: RIGHT or position in
        KINDS, size). Boxes are in pixels of the frame. Predictions below the lowest score threshold are
        left out.
    """
    budget, shown, sizes = Budget(len(rows)), [], thirds(record)
    kept = at_least(record.scores, SCORE_THRESHOLDS[0])
    for row in rows.tolist():
        own = np.flatnonzero(kept & (record.image == row))
        objects = np.flatnonzero(record.object_image == row)
        position = int(record.images[row])
        pair = results.dataset.pairs[position]
        frames = thumbnails(results.dataset.frames(position), budget)
        shown.append(
            {
                "name": results.pairs[row],
                "scene": results.scenes[row],
                "width": int(pair.width),
                "height": int(pair.height),
                "frames": frames,
                "objects": _rows(
                    record.object_boxes[objects],
                    record.object_labels[objects],
                    sweep.found[objects],
                    sweep.covered[objects],
                    third_of(record.object_areas()[objects], sizes),
                ),
                "predictions": _rows(
                    record.boxes[own],
                    record.labels[own],
                    record.scores[own],
                    sweep.kind[own],
                    third_of(record.areas()[own], sizes),
                ),
            }
        )
    return shown


def _rows(boxes: Floats, *columns: Floats | Ints) -> list[list[float]]:
    corners = [np.round(boxes, 1).tolist()] if len(boxes) else [[]]
    lists = [np.round(column, 6).tolist() for column in columns]
    return [[*box, *rest] for box, *rest in zip(corners[0], *lists, strict=True)]
