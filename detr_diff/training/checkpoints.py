"""Checkpoints that a kill at any moment leaves intact, and finding the newest of them."""

import logging
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from detr_diff.data.description import read_description
from detr_diff.errors import SettingError, UserError
from detr_diff.training.stop import Stop

log = logging.getLogger(__name__)

GRACE = 20.0  # seconds that a validation may still take when a signal asks to stop
SPARED = 50  # times that it takes to write last.ckpt pass before the next one
LAST, PREVIOUS, NEXT = "last.ckpt", "previous.ckpt", "next.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under another name first: it is complete or not there."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.tmp")
        try:
            with unfinished.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            unfinished.unlink(missing_ok=True)
            reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[0]
            raise UserError(
                f"{path}: cannot be written: {reason}; the checkpoint before it is intact, "
                "resume=true goes on from it"
            ) from error
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


class BestCheckpoint(ModelCheckpoint):
    """best.ckpt, the weights with the best figure of validation; of several with the same the last.

    AP may be 0 for many epochs in which the loss falls. And Lightning forgets which was the best when the
    run folder has another path than before.
    """

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        best = self.best_model_score
        same = current is not None and best is not None and bool(current == best)
        return same or super().check_monitor_top_k(trainer, current)

    @property
    def state_key(self) -> str:
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        def here(path: str) -> str:
            return str(Path(str(self.dirpath), Path(path).name)) if path else path

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        state = state_dict | {key: here(state_dict[key]) for key in paths if key in state_dict}
        best = {here(path): score for path, score in state_dict.get("best_k_models", {}).items()}
        super().load_state_dict(state | {"dirpath": self.dirpath, "best_k_models": best})


class ResumeCheckpoint(Checkpoint):
    """Writes last.ckpt, from which a run goes on as if nothing had happened.

    Written always after an optimizer step, never in an accumulation window: when some time has passed
    since the one before, or after some steps, and at the end of the training. Where epochs are short,
    to write one after each would take longer than to learn.

    Lightning logs the figures of a step after the hooks in which a checkpoint can be made. So it is made
    as next.ckpt and becomes last.ckpt in the next hook, when metrics.csv holds all that lies before it;
    the one before it stays as previous.ckpt.

    Args:
        folder: Where they go.
        every_minutes: Minutes between two of them, or longer, so that writing takes no more than a
            fiftieth of the time; 0: one at the end of every epoch.
        every_n_steps: Optimizer steps after which one is written, too; 0: none.
        stop: Tells whether to write one and stop.
    """

    def __init__(self, folder: Path, every_minutes: float, every_n_steps: int, stop: Stop) -> None:
        self.folder = folder
        self.every_minutes = every_minutes
        self.every_n_steps = every_n_steps
        self.stop = stop
        self.written, self.pause = monotonic(), 60 * every_minutes
        self.step = self.saved = 0
        self.validating = 0.0
        self.due = False
        self._digest: str | None = None

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stop.listen()  # Lightning has put its own handlers in front

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stop.listen()
        self.stop.at_once = False
        self.step = self.saved = trainer.global_step

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._commit(trainer)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            return  # inside an accumulation window
        self.step = trainer.global_step
        late = self.every_minutes > 0 and monotonic() - self.written >= self.pause
        asked, late = self.stop.agree(trainer, late)
        self.due |= asked or late or (self.every_n_steps > 0 and self.step % self.every_n_steps == 0)
        loop: Any = trainer.fit_loop.epoch_loop
        # After the last batch Lightning would skip the next epoch, before a validation it would
        # skip the validation: there the end of the epoch, or of the validation, is the place.
        if self.due and not loop._num_ready_batches_reached() and not self._validates(trainer):
            self._write(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validating = monotonic()
        if not trainer.sanity_checking:
            self._commit(trainer)

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        since = self.stop.since
        if trainer.sanity_checking or since is None or monotonic() - max(since, self.validating) < GRACE:
            return
        lost, there = trainer.global_step - self.saved, (self.folder / LAST).exists()
        self.stop.now(
            f"in a validation that takes longer than {GRACE:g} s: {lost} steps are lost; resume=true "
            + ("goes on before them" if there else "begins anew")
        )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        asked, _ = self.stop.agree(trainer)
        self.due |= asked
        loop: Any = trainer.fit_loop.epoch_loop
        # Inside an accumulation window the next step is the place.
        if self.due and not loop._num_ready_batches_reached() and not loop._should_accumulate():
            self._write(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._commit(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if self.due or last or not self.every_minutes:
            self._write(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stop.agree(trainer)
        self._commit(trainer)
        self.stop.at_once = True

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["processes"] = trainer.world_size
        checkpoint["precision"] = trainer.precision
        checkpoint["pairs"] = _pairs(trainer)
        checkpoint["labels"] = self._labels(trainer)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        before, now = checkpoint["processes"], trainer.world_size
        if before != now:
            raise SettingError(
                f"resume=true: the run began with {before} processes, now there are {now}; the order of the "
                "data would be another one"
            )
        pairs = _pairs(trainer)
        if checkpoint.get("pairs", pairs) != pairs:
            began, have = (
                " and ".join(f"{count} {split}" for split, count in counts.items())
                for counts in (checkpoint["pairs"], pairs)
            )
            raise SettingError(
                f"resume=true: the run began with {began} pairs, now there are {have}; stages would begin "
                f"at other steps; begin a new run with its weights, model.pretrained={self.folder / LAST}"
            )
        if checkpoint.get("labels", labels := self._labels(trainer)) != labels:
            root = trainer.datamodule.settings.root  # type: ignore[attr-defined]
            raise SettingError(
                f"resume=true: pairs, labels or dataset.yaml in {root} are not as when the run began; "
                f"begin a new run with its weights, model.pretrained={self.folder / LAST}"
            )

    def _labels(self, trainer: Trainer) -> str:
        """Digest of what is learnt and validated: the same in another folder with the same pairs."""
        if self._digest is None:
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            said = read_description(Path(data.settings.root))
            parts = [data.datasets[split].pairs.digest() for split in ("train", "val")]
            self._digest = " ".join([*parts, *said.names, str(said.places)])
        return self._digest

    def _validates(self, trainer: Trainer) -> bool:
        """Whether a validation follows this batch."""
        loop: Any = trainer.fit_loop
        return bool(loop.epoch_loop._should_check_val_fx(loop._data_fetcher))

    def _write(self, trainer: Trainer) -> None:
        began = monotonic()
        trainer.save_checkpoint(self.folder / NEXT)
        self.due, self.written, self.saved = False, monotonic(), trainer.global_step
        self.pause = max(60 * self.every_minutes, SPARED * (self.written - began))

    def _commit(self, trainer: Trainer) -> None:
        if trainer.is_global_zero and (self.folder / NEXT).exists():
            last = self.folder / LAST
            if last.exists():
                os.replace(last, self.folder / PREVIOUS)
            os.replace(self.folder / NEXT, last)
        if self.stop.decided and not self.due:
            trainer.strategy.barrier()
            self.stop.now(f"after step {trainer.global_step}, saved; resume=true goes on")


def step_and_precision(path: Path) -> tuple[int, str | None]:
    """Optimizer steps before a checkpoint, and the precision of its run; None where that was not kept yet."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return checkpoint["global_step"], checkpoint.get("precision")


def _pairs(trainer: Trainer) -> dict[str, int]:
    """How many pairs train and validate."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    return {split: len(data.datasets[split]) for split in ("train", "val")}


def newest(folder: Path, complain: Callable[[str], None] = log.warning) -> Path | None:
    """The newest checkpoint that a run can go on from.

    Args:
        folder: The checkpoints of a run.
        complain: Is told which ones are damaged.

    Raises:
        UserError: There are some, and all are damaged.
    """
    (folder / NEXT).unlink(missing_ok=True)  # of a run that was killed before it counted
    found = [folder / name for name in (LAST, PREVIOUS) if (folder / name).exists()]
    for path in found:
        damage = _damage(path)
        if damage is None:
            return path
        complain(f"{path}: damaged, skipped ({damage})")
    if found:
        raise UserError(
            f"{folder}: no checkpoint can be read ({', '.join(path.name for path in found)}); "
            "delete them to begin anew"
        )
    return None


def _damage(path: Path) -> str | None:
    """What is wrong with a checkpoint file; None: nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken is not None:
            return f"checksum of {broken}"
        torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        return str(error).strip().splitlines()[0]
    return None
