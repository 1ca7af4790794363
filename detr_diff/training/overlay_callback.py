"""Pictures of what was found: PNGs of the test pairs, panels in Weights & Biases."""

from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor

from detr_diff.data.batch import Batch
from detr_diff.data.dataset import MovedObjectDataset
from detr_diff.data.truth import truths_in_pixels
from detr_diff.evaluation.overlays import above, best_and_worst, draw, errors, file_name, write
from detr_diff.training.place_callback import with_links

Found = tuple[int, dict[str, Tensor], dict[str, Tensor]]  # index, prediction, truth


class OverlayCallback(Callback):
    """Draws the best and the worst test pairs, and shows validation pairs in W&B.

    Args:
        folder: Where the PNGs go.
        count: So many of the best and of the worst.
        images: So many validation pairs are shown in W&B.
    """

    def __init__(self, folder: Path, count: int, images: int = 8) -> None:
        self.folder = folder
        self.count = count
        self.images = images
        self.found: list[Found] = []

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.found = []

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.found = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if len(self.found) < self.images and self._wandb(trainer):
            self._keep(outputs, batch)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._keep(outputs, batch)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        loader: Any = trainer.val_dataloaders
        self._show(trainer, pl_module, loader.dataset, _on_host(self.found[: self.images]), "val/overlays")

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.found = _of_all_processes(_on_host(self.found))
        if not trainer.is_global_zero:
            return
        loader: Any = trainer.test_dataloaders
        dataset: MovedObjectDataset = loader.dataset
        results = [errors(prediction, truth, pl_module.threshold) for _, prediction, truth in self.found]
        best, worst = best_and_worst(results, self.count)
        for kind, chosen in (("best", best), ("worst", worst)):
            for rank, position in enumerate(chosen):
                index, prediction, truth = self.found[position]
                name = file_name(dataset.pairs[index].pair.name)
                shown = above(prediction, pl_module.threshold)
                if "places" in shown:
                    shown = with_links(shown, dataset, index)
                picture = draw(dataset.image(index), pl_module.names, shown, truth)
                write(self.folder / f"{kind}_{rank:02d}_{name}.png", picture)
        shown_there = [self.found[position] for position in worst]
        self._show(trainer, pl_module, dataset, shown_there, "test/worst")

    def _keep(self, outputs: Any, batch: Batch) -> None:
        truths = truths_in_pixels(batch.targets)
        for prediction, target, truth in zip(outputs, batch.targets, truths, strict=True):
            if not target["padding"]:
                self.found.append((int(target["index"]), prediction, truth))

    def _wandb(self, trainer: Trainer) -> WandbLogger | None:
        return next((one for one in trainer.loggers if isinstance(one, WandbLogger)), None)

    def _show(
        self, trainer: Trainer, detector: Any, dataset: MovedObjectDataset, found: list[Found], key: str
    ) -> None:
        logger = self._wandb(trainer)
        if logger is None or not found or trainer.sanity_checking:
            return
        names = dict(enumerate(detector.names))
        images, boxes, captions = [], [], []
        for index, prediction, truth in found:
            shown = above(prediction, detector.threshold)
            images.append(dataset.image(index)[-3:].permute(1, 2, 0).numpy())
            captions.append(dataset.pairs[index].pair.name)
            boxes.append(
                {
                    "truth": {"box_data": _box_data(truth, names), "class_labels": names},
                    "prediction": {"box_data": _box_data(shown, names), "class_labels": names},
                }
            )
        # Panels, not tables: images in a table are kept outside the run folder and get lost.
        logger.log_image(key, images, boxes=boxes, caption=captions)


def _on_host(found: list[Found]) -> list[Found]:
    """At the end of an epoch: in every batch it would wait for the device."""
    return [
        (index, {k: v.cpu() for k, v in prediction.items()}, {k: v.cpu() for k, v in truth.items()})
        for index, prediction, truth in found
    ]


def _of_all_processes(found: list[Found]) -> list[Found]:
    """In the order of the data set, whichever process had them."""
    if not dist.is_initialized():
        return found
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, found)
    return sorted((one for own in gathered for one in own), key=lambda one: one[0])


def _box_data(boxes: dict[str, Tensor], names: dict[int, str]) -> list[dict[str, Any]]:
    """Boxes as W&B draws them."""
    rows = []
    scores = boxes.get("scores")
    for row, (box, label) in enumerate(zip(boxes["boxes"].tolist(), boxes["labels"].tolist(), strict=True)):
        corners = dict(zip(("minX", "minY", "maxX", "maxY"), box, strict=True))
        item: dict[str, Any] = {"position": corners, "domain": "pixel", "class_id": label}
        item["box_caption"] = names[label]
        if scores is not None:
            item["scores"] = {"score": float(scores[row])}
            item["box_caption"] += f" {float(scores[row]):.2f}"
        rows.append(item)
    return rows
