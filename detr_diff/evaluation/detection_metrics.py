"""The figures of a run: COCO average precision and the score sweep."""

import copy
import importlib.util
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torchmetrics.detection import MeanAveragePrecision

from detr_diff.evaluation.score_sweep import ScoreSweep, Sweep

Backend = Literal["faster_coco_eval", "pycocotools"]


def coco_backend() -> Backend:
    """faster-coco-eval where it is installed, else pycocotools; the figures are the same."""
    return "faster_coco_eval" if importlib.util.find_spec("faster_coco_eval") else "pycocotools"


class DetectionMetrics(nn.Module):
    """mAP and score sweep of one split.

    Args:
        names: Class names.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = list(names)
        # Its own gathering needs the same number of images in every process.
        self.average_precision = MeanAveragePrecision(
            backend=coco_backend(), class_metrics=True, sync_on_compute=False
        )
        self.average_precision.warn_on_many_detections = False
        self.sweep = ScoreSweep(len(names))

    def update(self, predictions: Sequence[dict[str, Tensor]], truths: Sequence[dict[str, Tensor]]) -> None:
        """Add images; see ScoreSweep.update."""
        self.average_precision.update(list(predictions), list(truths))
        self.sweep.update(predictions, truths)

    def compute(self, threshold: float | None = None) -> tuple[dict[str, float], Sweep]:
        """All figures.

        Args:
            threshold: Score threshold of precision, recall and F1; None for that of best F1.

        Returns:
            Flat figures (map, map_50, ..., score_threshold, precision, recall, f1, and the same
            with /<class> for each class) and the sweep. What is undefined, as the AP of a class
            without objects, is nan.
        """
        coco: dict[str, Any] = _of_all_processes(self.average_precision).compute()
        sweep: Sweep = self.sweep.compute()
        keys = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large", "mar_100")
        figures = {key: float(coco[key]) for key in keys}
        if threshold is None:
            threshold = sweep.best_threshold()
        figures["score_threshold"] = threshold
        seen = torch.atleast_1d(coco["classes"]).tolist()
        per_class = dict(zip(seen, torch.atleast_1d(coco["map_per_class"]).tolist(), strict=False))
        for row, name in enumerate(["", *self.names]):
            end = f"/{name}" if row else ""
            if row:
                figures[f"map{end}"] = per_class.get(row - 1, -1.0)
            values = sweep.at(threshold, row=row)
            for key, value in zip(("precision", "recall", "f1"), values, strict=True):
                figures[f"{key}{end}"] = value
        return {key: value if value >= 0 else float("nan") for key, value in figures.items()}, sweep

    def reset(self) -> None:
        """Forget all images."""
        self.average_precision.reset()
        self.sweep.reset()


def _of_all_processes(metric: MeanAveragePrecision) -> MeanAveragePrecision:
    """The metric with the images of every process."""
    if not dist.is_initialized():
        return metric
    states = {name: getattr(metric, name) for name in metric.metric_state}
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, states)
    whole = copy.deepcopy(metric)
    for name in states:
        setattr(whole, name, [value for own in gathered for value in own[name]])
    whole._update_count = max(1, whole._update_count)
    return whole
