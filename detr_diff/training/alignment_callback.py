"""Which pairs registration gave up on, and how many."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from detr_diff.data.batch import Batch

SAVED = "unaligned"


class AlignmentCallback(Callback):
    """Logs train/, val/ and test/unaligned, how many pairs of an epoch could not be aligned.

    Counted by the host, which knows it before the device gets the pair. An epoch that is resumed in the
    middle must know what came before, of all processes.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}  # of this process, by split; none where nothing is aligned

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        self._count("train", rest[1])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log("train", pl_module)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.counts.pop("val", None)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        self._count("val", rest[1])

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log("val", pl_module)

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        self._count("test", rest[1])

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log("test", pl_module)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if "train" in self.counts:
            own = torch.tensor(self.counts["train"], device=pl_module.device)
            checkpoint[SAVED] = int(trainer.strategy.reduce(own, reduce_op="sum"))

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if SAVED in checkpoint:
            self.counts["train"] = checkpoint[SAVED] if trainer.is_global_zero else 0

    def _count(self, split: str, batch: Batch) -> None:
        known = [t for t in batch.targets if "aligned" in t]
        if known:
            gave_up = sum(not (target["aligned"] or target["padding"]) for target in known)
            self.counts[split] = self.counts.get(split, 0) + gave_up

    def _log(self, split: str, pl_module: LightningModule) -> None:
        if split in self.counts:
            count = float(self.counts.pop(split))
            pl_module.log(f"{split}/unaligned", count, reduce_fx="sum", sync_dist=True)


class UnalignedCallback(Callback):
    """Collects the positions of the predicted pairs that could not be aligned.

    Attributes:
        positions: In the data set.
    """

    def __init__(self) -> None:
        self.positions: set[int] = set()

    def on_predict_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        batch: Batch = rest[1]
        self.positions |= {int(t["index"]) for t in batch.targets if not t.get("aligned", True)}
