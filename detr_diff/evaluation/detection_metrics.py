"""The figures of a run: COCO average precision, precision, recall and F1 by score, and what errors cost."""

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from detr_diff.evaluation.average_precision import averages, mean, recall_of_best
from detr_diff.evaluation.detection_record import DetectionRecord
from detr_diff.evaluation.error_parts import ap_costs, find_errors
from detr_diff.evaluation.headline import Headline
from detr_diff.evaluation.matching import match
from detr_diff.evaluation.object_size import COCO_SIZES, with_any
from detr_diff.evaluation.overlap import overlaps
from detr_diff.evaluation.record import MOST, Record
from detr_diff.evaluation.score_sweep import Sweep, score_sweep, undefined, with_total


class DetectionMetrics(nn.Module):
    """The figures of one split.

    Args:
        names: Class names.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = list(names)
        self.record = DetectionRecord()

    def update(
        self,
        predictions: Sequence[dict[str, Tensor]],
        truths: Sequence[dict[str, Tensor]],
        positions: Sequence[int] | Tensor,
    ) -> None:
        """Add images; see DetectionRecord.update."""
        self.record.update(predictions, truths, positions)

    def compute(self, threshold: float | None = None) -> tuple[dict[str, float], Sweep]:
        """The figures of all processes.

        Args:
            threshold: Score threshold of precision, recall and F1; None, during training, for that
                of best F1, and for those figures alone that training needs.
        """
        record = self.record.compute()
        found, sweep = figures(record, self.names, threshold)
        return found if threshold is None else found | more_figures(record, self.names, threshold), sweep

    def reset(self) -> None:
        """Forget all images."""
        self.record.reset()


def figures(
    record: Record, names: Sequence[str], threshold: float | None = None
) -> tuple[dict[str, float], Sweep]:
    """The twelve figures of the COCO evaluation, and precision, recall and F1 at IoU 0.5.

    Args:
        record: Predictions and objects.
        names: Class names.
        threshold: Score threshold of precision, recall and F1; None for that of best F1.

    Returns:
        Flat figures (map, map_50, ..., score_threshold, precision, recall, f1, and some of them with
        /<class> for each class) and the sweep. What is undefined, as AP and recall without objects, is
        nan.
    """
    record = record.best(MOST)
    matches = match(record, overlaps(record), sizes=with_any(COCO_SIZES))
    sweep = score_sweep(matches, len(names))
    if threshold is None:
        threshold = sweep.best_threshold()
    found = only(averages(matches, len(names)).figures(names, COCO_SIZES))
    for count in (1, 10):
        found[f"mar_{count}"] = float(mean(recall_of_best(matches, len(names), count)[:1])[0])
    found["score_threshold"] = threshold
    objects = with_total(np.bincount(record.object_labels, minlength=len(names)))
    made = with_total(np.bincount(record.above(threshold).labels, minlength=len(names)))
    missing = undefined(made, objects)
    for row, name in enumerate(["", *names]):
        for key, value in zip(missing, sweep.at(threshold, row=row), strict=True):
            found[f"{key}/{name}" if row else key] = math.nan if missing[key][row] else value
    return found, sweep


def more_figures(record: Record, names: Sequence[str], threshold: float) -> dict[str, float]:
    """All headline numbers, see Headline, and map_50_cost_<kind> for each kind of error."""
    costs = ap_costs(record.best(MOST), find_errors(record.best(MOST)), len(names))
    found = only(Headline(record, names, threshold).values())
    return found | {f"map_50_cost_{kind}": cost for kind, cost in costs.items()}


def only(values: dict[str, np.ndarray]) -> dict[str, float]:
    """The single value of each figure."""
    return {key: float(value[0]) for key, value in values.items()}
