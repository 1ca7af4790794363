"""One way to write one schedule."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lightning import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from tiny_detr import TinyDetr

OURS, CONTROL = "detr_diff", "no staging"
BACKBONE, BASE, FTS = "BackboneFinetuning", "BaseFinetuning", "finetuning-scheduler"
FIT, SETTER = "fit(ckpt_path=...)", "trainer.ckpt_path = ..."  # Lightning's two ways to resume
RESUME = "resume=true"


@dataclass(frozen=True)
class Attempt:
    """One way to write one schedule.

    Attributes:
        way: Whose staging it is.
        schedule: report or gradual; empty for the control.
        how: How it is written.
        callbacks: Of the trainer, anew for each run.
        optimizer: See TinyDetr.
        step_start: See TinyDetr.
        own_code: What is written beyond settings of the callback.
    """

    way: str
    schedule: str
    how: str
    callbacks: Callable[[], list[Callback]] = list
    optimizer: Callable[[TinyDetr], Any] | None = None
    step_start: Callable[[TinyDetr], None] | None = None
    own_code: str = ""

    @property
    def checkpoint(self) -> Callable[..., ModelCheckpoint]:
        """The class of the checkpoint callback."""
        if self.way != FTS:
            return ModelCheckpoint
        from finetuning_scheduler import FTSCheckpoint  # late: in no process that does without it

        return FTSCheckpoint

    @property
    def calls(self) -> tuple[str, ...]:
        """How it is resumed; the one that its manual shows last."""
        if self.way == OURS:
            return (RESUME,)
        return (FIT, SETTER) if self.way == FTS else (FIT,)

    @property
    def strategies(self) -> tuple[str, ...]:
        """What it is run with in two processes."""
        return ("auto",) if self.way == OURS else ("ddp", "ddp_find_unused_parameters_true")
