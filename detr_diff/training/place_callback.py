"""Old and new places of test pairs: links them and adds how well that went to the figures."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from detr_diff.data.batch import Batch
from detr_diff.data.dataset import MovedObjectDataset
from detr_diff.data.truth import truths_in_pixels
from detr_diff.evaluation.linking import NONE, link
from detr_diff.evaluation.overlays import above
from detr_diff.evaluation.place_metrics import PlaceMetrics


class PlaceCallback(Callback):
    """Adds place_accuracy, link_accuracy and link_precision to the figures of a test.

    Linking looks at the frames, which the model need not have seen: each pair is decoded again. So a
    validation gives the place_accuracy alone, of all predictions: it has no threshold yet.
    """

    def __init__(self) -> None:
        self.metrics = PlaceMetrics()

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.metrics.to(pl_module.device).reset()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        truths = truths_in_pixels(batch.targets)
        for prediction, target, truth in zip(outputs, batch.targets, truths, strict=True):
            if not target["padding"]:
                unlinked = torch.full_like(prediction["labels"], NONE)
                self.metrics.update(prediction, truth, unlinked)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log("val/place_accuracy", self.metrics.compute()["place_accuracy"])

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.metrics.to(pl_module.device).reset()

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        loader: Any = trainer.test_dataloaders
        truths = truths_in_pixels(batch.targets)
        for prediction, target, truth in zip(outputs, batch.targets, truths, strict=True):
            if not target["padding"]:
                shown = with_links(
                    above(prediction, pl_module.threshold), loader.dataset, int(target["index"])
                )
                self.metrics.update(shown, truth, shown["links"])

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log_dict({f"test/{key}": value for key, value in self.metrics.compute().items()})


def with_links(
    prediction: Mapping[str, Tensor], dataset: MovedObjectDataset, index: int
) -> dict[str, Tensor]:
    """A prediction dict with links int64 [D], the row of the other place of the same object, -1 for none.

    A ready diff image shows no object, so nothing is linked there.
    """
    before, after, _ = dataset.frames(index)
    if before is None or after is None:
        links = torch.full_like(prediction["labels"], NONE)
    else:
        links = link(prediction, before, after)
    return {**prediction, "links": links}
