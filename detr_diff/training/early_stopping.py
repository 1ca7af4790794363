"""Early stopping that gives every stage its epochs."""

from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import EarlyStopping


class LastStageEarlyStopping(EarlyStopping):
    """Stops the last stage only.

    A plateau of an early stage, in which little learns, is no reason to skip the stages after it.
    """

    def _last(self, trainer: Trainer) -> bool:
        detector: Any = trainer.lightning_module
        return bool(detector.plan.at(trainer.current_epoch)[0] == len(detector.plan.stages) - 1)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self._last(trainer):
            super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self._last(trainer):
            super().on_train_epoch_end(trainer, pl_module)
