"""Precision, recall and F1 over all IoU and score thresholds, from one pass."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchvision.ops import box_iou

from detr_diff.evaluation.matching import match

IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
SCORE_THRESHOLDS = tuple(round(0.05 + 0.01 * step, 2) for step in range(91))
DEFAULT_THRESHOLD = 0.5  # where every F1 is 0, no threshold is better than another


@dataclass
class Sweep:
    """Precision, recall and F1.

    The first row of each tensor is over all classes together, the others are the classes in
    order. Precision without predictions and recall without objects count as 0.

    Attributes:
        precision: [1 + classes, IoU thresholds, score thresholds].
        recall: The same shape.
        f1: The same shape.
    """

    precision: Tensor
    recall: Tensor
    f1: Tensor

    def best_threshold(self, iou: float = 0.5) -> float:
        """The score threshold of the best F1 at that IoU, over all classes.

        Of several equal ones the middle one, the farthest from doing worse.
        """
        f1 = self.f1[0, IOU_THRESHOLDS.index(iou)]
        if f1.max() == 0:
            return DEFAULT_THRESHOLD
        best = torch.nonzero(f1 == f1.max())[:, 0]
        return SCORE_THRESHOLDS[int(best[len(best) // 2])]

    def at(self, score: float, iou: float = 0.5, row: int = 0) -> tuple[float, float, float]:
        """Precision, recall and F1 at the grid point next to a score threshold."""
        column = int(np.abs(np.array(SCORE_THRESHOLDS) - score).argmin())
        place = (row, IOU_THRESHOLDS.index(iou), column)
        return float(self.precision[place]), float(self.recall[place]), float(self.f1[place])

    def rows(self) -> list[tuple[float, float, float, float, float]]:
        """(IoU, score, precision, recall, F1) over all classes."""
        return [
            (iou, score, float(self.precision[0, t, s]), float(self.recall[0, t, s]), float(self.f1[0, t, s]))
            for t, iou in enumerate(IOU_THRESHOLDS)
            for s, score in enumerate(SCORE_THRESHOLDS)
        ]


class ScoreSweep(Metric):
    """Counts of true positives for every IoU x score threshold and class.

    A prediction is right when it has the class of the object and overlaps it enough; see
    `match`. The counts are sums, so that several processes add up exactly.
    """

    full_state_update = False
    true_positives: Tensor
    predictions: Tensor
    objects: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        shape = (num_classes, len(IOU_THRESHOLDS), len(SCORE_THRESHOLDS))
        zeros = torch.zeros(shape, dtype=torch.int64)
        self.add_state("true_positives", zeros, dist_reduce_fx="sum")
        self.add_state("predictions", zeros[:, 0].clone(), dist_reduce_fx="sum")
        self.add_state("objects", zeros[:, 0, 0].clone(), dist_reduce_fx="sum")

    def update(self, predictions: Sequence[dict[str, Tensor]], truths: Sequence[dict[str, Tensor]]) -> None:
        """Add images.

        Args:
            predictions: Prediction dicts: boxes [D, 4] xyxy in pixels, scores [D], labels [D].
            truths: boxes [G, 4] xyxy in pixels, labels [G].
        """
        thresholds = np.array(IOU_THRESHOLDS)
        grid = np.array(SCORE_THRESHOLDS)
        found = np.zeros(self.true_positives.shape, np.int64)
        made = np.zeros(self.predictions.shape, np.int64)
        for prediction, truth in zip(predictions, truths, strict=True):
            scores = prediction["scores"].double().cpu().numpy()
            labels = prediction["labels"].cpu().numpy()
            true_labels = truth["labels"].cpu().numpy()
            iou = box_iou(prediction["boxes"].double(), truth["boxes"].double()).cpu().numpy()
            # float32 scores: 0.3 as float32 is above 0.3 as float64
            column = np.searchsorted(grid, np.round(scores, 6), side="right")
            order = np.argsort(-scores, kind="stable")
            for label in np.unique(labels):
                chosen = order[labels[order] == label]
                hits = match(iou[np.ix_(chosen, true_labels == label)], thresholds)
                # A prediction counts at every score threshold up to its own score.
                counts = np.zeros((len(thresholds) + 1, len(grid) + 1), np.int64)
                np.add.at(counts[-1], column[chosen], 1)
                for row, hit in enumerate(hits):
                    np.add.at(counts[row], column[chosen[hit]], 1)
                above = counts[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
                found[label] += above[:-1]
                made[label] += above[-1]
            self.objects += torch.bincount(truth["labels"], minlength=len(self.objects)).to(self.objects)
        self.true_positives += torch.from_numpy(found).to(self.true_positives)
        self.predictions += torch.from_numpy(made).to(self.predictions)

    def compute(self) -> Sweep:
        """The sweep over everything added so far."""

        def with_total(counts: Tensor) -> Tensor:
            return torch.cat([counts.sum(0, keepdim=True), counts]).double().cpu()

        hits = with_total(self.true_positives)
        made = with_total(self.predictions)[:, None]
        objects = with_total(self.objects)[:, None, None]
        precision = hits / made.clamp(min=1)
        recall = hits / objects.clamp(min=1)
        f1 = 2 * hits / (made + objects).clamp(min=1)
        return Sweep(precision, recall, f1)
