"""What Lightning knows of the progress, for status.json."""

import math
from typing import Any

from lightning import Callback, LightningModule, Trainer

from detr_diff.training.status_file import StatusFile


class StatusCallback(Callback):
    """Gives heartbeats with the progress while a detector trains, validates and is tested.

    Args:
        status: Of the run.
    """

    def __init__(self, status: StatusFile) -> None:
        self.status = status
        self.stage: dict[str, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step > 0:
            self.status.went_on()
        self.stage = _stage(trainer)
        self._report(trainer, force=True)

    # After the last epoch there is no stage to ask for, so it is kept.
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stage = _stage(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._report(trainer)

    # A long validation must not look like a dead run.
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._report(trainer)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._report(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._report(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._report(trainer, force=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._report(trainer, force=True)

    def _report(self, trainer: Trainer, force: bool = False) -> None:
        if force or self.status.due():
            self.status.report(force=True, **self.stage, **_best(trainer), **_place(trainer))


def _place(trainer: Trainer) -> dict[str, Any]:
    limited = trainer.max_epochs is not None and trainer.max_epochs >= 0
    epochs = trainer.max_epochs if limited else None
    return {"epoch": trainer.current_epoch, "epochs": epochs, "step": trainer.global_step}


def _stage(trainer: Trainer) -> dict[str, Any]:
    detector: Any = trainer.lightning_module
    span = detector.timeline.at_epoch(trainer.current_epoch)
    return {"stage": span.stage.name, "stage_number": span.number, "stages": len(detector.plan.stages)}


def _best(trainer: Trainer) -> dict[str, Any]:
    for callback in trainer.checkpoint_callbacks:
        monitor, score = getattr(callback, "monitor", None), getattr(callback, "best_model_score", None)
        if monitor is not None and score is not None and math.isfinite(float(score)):
            return {"monitor": monitor, "mode": getattr(callback, "mode", None), "best": float(score)}
    return {"best": None}
