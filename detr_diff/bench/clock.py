"""Turns inside a training with Lightning."""

import resource
from statistics import median
from time import perf_counter
from typing import Any

import torch
from lightning import Callback, Trainer

from detr_diff.bench.turns import Turns


class Clock(Callback):
    """A turn is an epoch or some steps. Steps do not hold the time to load, but that to reach the device.

    Args:
        turns: Which are taken.
        unit: epoch, step, validation, or stage: that is all epochs, without waiting between them.
        steps: In a turn of steps.
        warm: Steps before the first turn. Of epochs it is one.
    """

    def __init__(self, turns: Turns, unit: str, steps: int, warm: int) -> None:
        self.turns = turns
        self.unit = unit
        self.steps = steps
        self.warm = warm
        self.facts: dict[str, float] = {}  # to be told when everything is warm
        self.pixels: list[int] = []
        self.epochs: list[float] = []
        self._validated = False
        self._taken: list[float] = []
        self._stepped = 0
        self.start()

    def start(self) -> None:
        """From now on."""
        self._begun = self._ended = perf_counter()
        self._waited = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        if self.unit == "epoch" and not trainer.current_epoch:
            self.start()

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        transfer = pl_module.transfer_batch_to_device

        def timed(*given: Any) -> Any:
            if trainer.training:
                self._loaded(pl_module)
            return transfer(*given)

        pl_module.transfer_batch_to_device = timed

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        del pl_module.transfer_batch_to_device

    def _loaded(self, pl_module: Any) -> None:
        now = perf_counter()
        self._waited, self._ended = self._waited + now - self._ended, now
        if self.unit != "step":
            return
        if self._stepped >= self.warm and not self._taken:
            self.turns.begin()
        synchronize(pl_module.device)
        self._begun = perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.pixels = list(batch.images.shape[-2:])

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self._ended = perf_counter()
        if self.unit != "step":
            return
        synchronize(pl_module.device)
        lasted = perf_counter() - self._begun
        self._stepped += 1
        if self._stepped < self.warm:
            return
        if self._stepped == self.warm:
            self.turns.ready(pixels=self.pixels, **self.facts)
            return
        self._taken.append(lasted)
        if len(self._taken) == self.steps:
            self.turns.end(seconds=median(self._taken), **memory(pl_module.device))
            self._taken = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self.unit in ("step", "validation"):
            return
        synchronize(pl_module.device)
        lasted = perf_counter() - self._begun
        self.epochs.append(lasted)
        if self.unit == "epoch":
            if len(self.epochs) == 1:
                self.turns.ready(pixels=self.pixels, first=lasted, **self.facts)
            else:
                self.turns.end(seconds=lasted, waiting=self._waited / lasted, **memory(pl_module.device))
            if trainer.max_epochs is not None and len(self.epochs) < trainer.max_epochs:
                self.turns.begin()
        self.start()

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        if self.unit == "validation" and self._validated:
            self.turns.begin()
        synchronize(pl_module.device)
        self._begun = perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self.unit != "validation":
            return
        synchronize(pl_module.device)
        lasted = perf_counter() - self._begun
        if self._validated:
            self.turns.end(seconds=lasted, **memory(pl_module.device))
        else:
            self.turns.ready(batches=sum(trainer.num_val_batches), **self.facts)
        self._validated = True


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize()


class Validation(Callback):
    """How long a validation lasts, from `start` until its figures are there.

    What Lightning does after it, as moving the model off the device, it does once a training.
    """

    seconds = 0.0

    def start(self) -> None:
        """From now on."""
        self._begun = perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        synchronize(pl_module.device)
        self.seconds = perf_counter() - self._begun


def memory(device: torch.device) -> dict[str, float]:
    """Peak megabytes of this process and of its largest worker, and on a GPU."""
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    figures = {"memory_mb": sum(peaks) / 1024}
    if device.type == "cuda":
        figures["gpu_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
    return figures
