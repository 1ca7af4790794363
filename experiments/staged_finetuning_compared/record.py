"""What a run did: measured in every process by the same callback, whatever the staging."""

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer

Tensors = dict[str, torch.Tensor]


class Record(Callback):
    """What learned at which rate in each step; weights after each epoch, optimizer state at the end.

    Args:
        folder: Where it is written when the training ends, as end<rank>.pt.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rates: dict[int, dict[str, float]] = {}
        self.weights: dict[int, Tensors] = {}

    def on_train_start(self, trainer: Trainer, module: Any) -> None:
        def stepped(optimizer: Any, *_: Any) -> None:
            rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
            self.rates[trainer.global_step] = {
                name: float(rate.get(id(parameter), 0.0)) if parameter.grad is not None else 0.0
                for name, parameter in module.detr.named_parameters()
            }

        # After the step: hooks of the module may have changed the rate until then.
        trainer.optimizers[0].register_step_post_hook(stepped)

    def on_train_epoch_end(self, trainer: Trainer, module: Any) -> None:
        self.weights[trainer.current_epoch] = {k: v.clone() for k, v in module.detr.state_dict().items()}

    def on_train_end(self, trainer: Trainer, module: Any) -> None:
        (optimizer,) = trainer.optimizers
        state = {
            name: dict(optimizer.state[p])
            for name, p in module.detr.named_parameters()
            if p in optimizer.state
        }
        found = {"rates": self.rates, "weights": self.weights, "optimizer": state}
        torch.save(found, self.folder / f"end{trainer.global_rank}.pt")


class Kill(Callback):
    """SIGKILL within a batch, before its optimizer step."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.epoch, self.batch = epoch, batch

    def on_before_backward(self, trainer: Trainer, module: Any, loss: Any) -> None:
        done = trainer.fit_loop.epoch_loop.batch_progress.current.processed
        if (trainer.current_epoch, done) == (self.epoch, self.batch):
            os.kill(os.getpid(), signal.SIGKILL)


def callbacks(folder: Path, kill: tuple[int, int] | None) -> list[Callback]:
    """Those of a run that is measured, and perhaps killed."""
    return [Record(folder), *([Kill(*kill)] if kill else [])]


def from_environment() -> list[Callback]:
    """The same for `detr-diff train`, which gets them by Lightning's entry point."""
    kill = os.environ.get("STUDY_KILL")
    point = tuple(map(int, kill.split(","))) if kill else None
    return callbacks(Path(os.environ["STUDY_FOLDER"]), point)


@dataclass
class Outcome:
    """What a process ended with.

    Attributes:
        error: Type and first line of the exception, or killed; empty for none.
        rates: Step to parameter to its rate, 0 when it got no gradient or is in no group.
        weights: Epoch to state dict after it.
        optimizer: Parameter to its optimizer state at the end.
    """

    error: str = ""
    rates: dict[int, dict[str, float]] = field(default_factory=dict)
    weights: dict[int, Tensors] = field(default_factory=dict)
    optimizer: dict[str, Tensors] = field(default_factory=dict)


def read(folder: Path, rank: int) -> Outcome:
    """The outcome of one process."""
    error, end = folder / f"error{rank}.txt", folder / f"end{rank}.pt"
    if error.exists():
        return Outcome(error.read_text().strip().splitlines()[0][:160])
    return Outcome(**torch.load(end)) if end.exists() else Outcome("killed")
