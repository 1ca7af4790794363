"""One training run in a process of its own, which may be killed."""

import multiprocessing
import os
import signal
import socket
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from attempts import FIT, SETTER, Attempt
from lightning import Callback, Trainer
from tiny_detr import TinyDetr
from wanted import EPOCHS, STEPS

FORK = multiprocessing.get_context("fork")


class Record(Callback):
    """What learned at which rate in each step; weights after each epoch, optimizer state at the end.

    Args:
        path: Where to write it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rates: dict[int, dict[str, float]] = {}
        self.weights: dict[int, dict[str, Any]] = {}

    def on_before_optimizer_step(self, trainer: Trainer, module: Any, optimizer: Any) -> None:
        rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
        self.rates[trainer.global_step] = {
            name: rate.get(id(parameter), 0.0) if parameter.grad is not None else 0.0
            for name, parameter in module.detr.named_parameters()
        }

    def on_train_epoch_end(self, trainer: Trainer, module: Any) -> None:
        self.weights[trainer.current_epoch] = {k: v.clone() for k, v in module.detr.state_dict().items()}

    def on_train_end(self, trainer: Trainer, module: Any) -> None:
        (optimizer,) = trainer.optimizers
        state = {
            name: {k: v.clone() for k, v in optimizer.state[p].items()}
            for name, p in module.detr.named_parameters()
            if p in optimizer.state
        }
        torch.save({"rates": self.rates, "weights": self.weights, "optimizer": state}, self.path)


class Kill(Callback):
    """SIGKILL before a batch."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.point = (epoch, batch)

    def on_train_batch_start(self, trainer: Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == self.point:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Outcome:
    """What a run ended with.

    Attributes:
        error: Type and first line of the exception; empty for none.
        rates: Step to parameter to its rate, 0 when it got no gradient or is in no group.
        weights: Epoch to state dict after it.
        optimizer: Parameter to its optimizer state at the end.
    """

    error: str = ""
    rates: dict[int, dict[str, float]] = field(default_factory=dict)
    weights: dict[int, dict[str, Any]] = field(default_factory=dict)
    optimizer: dict[str, dict[str, Any]] = field(default_factory=dict)


def train(
    attempt: Attempt,
    folder: Path,
    kill: tuple[int, int] | None = None,
    resume: Path | None = None,
    call: str = FIT,
    strategy: str | None = None,
    ranks: int = 1,
) -> list[Outcome]:
    """Train in one forked process a rank.

    Args:
        attempt: What is trained.
        folder: Of this run; checkpoints go there.
        kill: Epoch and batch before which the run is killed. Batch 0 is killed with the checkpoint of
            the last epoch's end on the disk, another with that of the last step.
        resume: A checkpoint.
        call: FIT or SETTER.
        strategy: Lightning's, for several ranks.
        ranks: Number of processes.

    Returns:
        One outcome a rank.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("end*.pt"), *folder.glob("error*.txt")):
        old.unlink()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    arguments = (attempt, folder, kill, resume, call, strategy, ranks, port)
    processes = [FORK.Process(target=_train, args=(rank, *arguments)) for rank in range(ranks)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    outcomes = []
    for rank in range(ranks):
        error, end = folder / f"error{rank}.txt", folder / f"end{rank}.pt"
        if error.exists():
            last = error.read_text().strip().splitlines()
            outcomes.append(Outcome(next(line for line in last if not line.startswith((" ", "Traceback")))))
        else:
            outcomes.append(Outcome(**torch.load(end)) if end.exists() else Outcome("killed"))
    return outcomes


def _train(
    rank: int,
    attempt: Attempt,
    folder: Path,
    kill: tuple[int, int] | None,
    resume: Path | None,
    call: str,
    strategy: str | None,
    ranks: int,
    port: str,
) -> None:
    with (folder / f"log{rank}.txt").open("w") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
        if ranks > 1:  # as Lightning's own launcher sets it
            os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": str(ranks)}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        try:
            _fit(rank, attempt, folder, kill, resume, call, strategy, ranks)
        except Exception as error:  # noqa: BLE001 - the study writes down what it is
            print(traceback.format_exc(), flush=True)
            (folder / f"error{rank}.txt").write_text(f"{type(error).__name__}: {error}")
            os._exit(1)


def _fit(
    rank: int,
    attempt: Attempt,
    folder: Path,
    kill: tuple[int, int] | None,
    resume: Path | None,
    call: str,
    strategy: str | None,
    ranks: int,
) -> None:
    torch.set_num_threads(1)
    when: dict[str, Any] = {"every_n_epochs": 1, "save_on_train_epoch_end": True}
    if kill and kill[1]:
        when = {"every_n_train_steps": kill[0] * STEPS + kill[1]}
    saver = attempt.checkpoint(folder / "checkpoints", filename="{epoch}-{step}", save_top_k=-1, **when)
    callbacks = [*attempt.callbacks(), Record(folder / f"end{rank}.pt"), saver]
    trainer = Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        devices=ranks,
        strategy=strategy or "auto",
        callbacks=[*callbacks, Kill(*kill)] if kill else callbacks,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
    )
    model = TinyDetr(attempt.optimizer, attempt.step_start)
    if resume and call == SETTER:
        trainer.ckpt_path = resume
        resume = None
    trainer.fit(model, ckpt_path=resume, weights_only=False)
