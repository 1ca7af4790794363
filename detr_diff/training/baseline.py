"""Baseline: a detector that does not learn by gradients, judged as a network is."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from detr_diff.data.batch import Samples
from detr_diff.data.truth import truths_in_pixels
from detr_diff.evaluation.detection_metrics import DetectionMetrics
from detr_diff.evaluation.score_sweep import Sweep
from detr_diff.model.predictions import Predictions

Finder = Callable[[Tensor, Mapping[str, Tensor]], dict[str, Tensor]]


class Baseline(LightningModule):
    """Predictions from images that no image processor has touched.

    Args:
        names: Class names.
        find: From an image, uint8 [3, H, W], and its target dict to a prediction dict.
        threshold: Score from which on a prediction is shown and counted.
    """

    def __init__(self, names: Sequence[str], find: Finder, threshold: float) -> None:
        super().__init__()
        self.names = list(names)
        self.find = find
        self.threshold = threshold
        self.metrics = DetectionMetrics(self.names)
        self.sweep: Sweep | None = None

    def on_test_epoch_start(self) -> None:
        self.metrics.reset()

    def test_step(self, batch: Samples, batch_idx: int) -> Any:
        predictions: Predictions = []
        for image, target in zip(batch.images, batch.targets, strict=True):
            found = self.find(image, target)
            predictions.append({key: value.to(self.device) for key, value in found.items()})
        targets = batch.targets
        positions = torch.cat([target["index"] for target in targets])
        self.metrics.update(predictions, truths_in_pixels(targets), positions)
        return predictions

    def on_test_epoch_end(self) -> None:
        figures, self.sweep = self.metrics.compute(self.threshold)
        self.log_dict({f"test/{key}": value for key, value in figures.items()})
