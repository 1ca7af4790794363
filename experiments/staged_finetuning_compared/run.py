"""One training run in processes of its own, which may be killed."""

import multiprocessing
import os
import socket
import traceback
from pathlib import Path
from typing import Any

import torch
from attempt import FIT, OURS, SETTER, Attempt
from command import command
from lightning import Trainer
from record import Outcome, callbacks, read
from tiny_detr import TinyDetr
from wanted import EPOCHS, STEPS

FORK = multiprocessing.get_context("fork")  # torch and Lightning are imported once


def train(
    attempt: Attempt,
    folder: Path,
    kill: tuple[int, int] | None = None,
    resume: Path | None = None,
    call: str = FIT,
    strategy: str = "auto",
    ranks: int = 1,
) -> list[Outcome]:
    """Train.

    Args:
        attempt: What is trained.
        folder: Of this run; checkpoints go there.
        kill: Epoch and batch in which the run is killed. In batch 0 the checkpoint of the last epoch's
            end is on the disk, in another that of the step before.
        resume: A checkpoint.
        call: One of attempt.calls.
        strategy: Lightning's.
        ranks: Number of processes.

    Returns:
        One outcome a process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("end*.pt"), *folder.glob("error*.txt")):
        old.unlink()
    if attempt.way == OURS:
        command(attempt.schedule, folder, kill, resume is not None, ranks)
    else:
        _fork(attempt, folder, kill, resume, call, strategy, ranks)
    return [read(folder, rank) for rank in range(ranks)]


def _fork(
    attempt: Attempt,
    folder: Path,
    kill: tuple[int, int] | None,
    resume: Path | None,
    call: str,
    strategy: str,
    ranks: int,
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def child(rank: int) -> None:
        with (folder / f"log{rank}.txt").open("w") as log:
            for stream in (1, 2):
                os.dup2(log.fileno(), stream)
            if ranks > 1:  # as Lightning's own launcher sets it
                os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": str(ranks)}
                os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            try:
                _fit(attempt, folder, kill, resume, call, strategy, ranks)
            except Exception as error:  # noqa: BLE001 - the study writes down what it is
                print(traceback.format_exc(), flush=True)
                (folder / f"error{rank}.txt").write_text(f"{type(error).__name__}: {error}")
                os._exit(1)

    processes = [FORK.Process(target=child, args=(rank,)) for rank in range(ranks)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


def _fit(
    attempt: Attempt,
    folder: Path,
    kill: tuple[int, int] | None,
    resume: Path | None,
    call: str,
    strategy: str,
    ranks: int,
) -> None:
    torch.set_num_threads(1)
    when: dict[str, Any] = {"every_n_epochs": 1, "save_on_train_epoch_end": True}
    if kill and kill[1]:
        when = {"every_n_train_steps": kill[0] * STEPS + kill[1]}
    saver = attempt.checkpoint(folder / "checkpoints", filename="{epoch}-{step}", save_top_k=-1, **when)
    trainer = Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        devices=ranks,
        strategy=strategy,
        callbacks=[*attempt.callbacks(), *callbacks(folder, kill), saver],
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
