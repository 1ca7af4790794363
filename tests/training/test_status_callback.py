from pathlib import Path

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

from detr_diff.choices import RunState
from detr_diff.training import status_file
from detr_diff.training.run_status import STATUS, Status, read_status
from detr_diff.training.stages import StagePlan
from detr_diff.training.status_callback import StatusCallback
from detr_diff.training.status_file import StatusFile

STAGES = {"first": {"epochs": 1}, "second": {"epochs": 2}}


class Line(LightningModule):
    """Learns one number in the stages of a plan; its validation figure is known beforehand."""

    def __init__(self) -> None:
        super().__init__()
        self.plan = StagePlan.from_settings(STAGES)
        self.timeline = self.plan.timeline(lambda stage: 4)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch, batch_idx):
        return ((self.weight - batch[0]) ** 2).mean()

    def validation_step(self, batch, batch_idx):
        self.log("val/map", (0.5, 0.7, 0.6)[self.current_epoch])

    def test_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Writings(Callback):
    """Counts how often status.json is new, by where Lightning is."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / STATUS
        self.seen = (0, 0)
        self.counts = dict.fromkeys(("train", "val", "test"), 0)

    def look(self, where: str) -> None:
        file = self.path.stat()
        now = (file.st_ino, file.st_mtime_ns)
        self.counts[where] += now != self.seen
        self.seen = now

    def on_train_batch_end(self, *_) -> None:
        self.look("train")

    def on_validation_batch_end(self, *_) -> None:
        self.look("val")

    def on_test_batch_end(self, *_) -> None:
        self.look("test")


def loader() -> DataLoader:
    return DataLoader(TensorDataset(torch.ones(8, 1)), batch_size=2)


def fit(folder: Path, *more: Callback, epochs: int = 3, resume: bool = False) -> Status:
    """Train with a status in the folder, and test."""
    with StatusFile.begin(folder, resume) as file:
        best = ModelCheckpoint(folder, filename="best", monitor="val/map", mode="max")
        last = ModelCheckpoint(folder, filename="last", save_on_train_epoch_end=True)
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            callbacks=[StatusCallback(file), best, last, *more],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        checkpoint = folder / "last.ckpt" if (folder / "last.ckpt").exists() else None
        trainer.fit(Line(), loader(), loader(), ckpt_path=checkpoint, weights_only=True)
        trainer.test(trainer.lightning_module, loader(), verbose=False)
    found = read_status(folder)
    assert found is not None
    return found


def test_the_progress_is_in_the_status(tmp_path: Path) -> None:
    found = fit(tmp_path)
    assert found.state is RunState.finished
    assert (found.epoch, found.epochs, found.step) == (3, 3, 12)
    assert (found.stage, found.stage_number, found.stages) == ("second", 2, 2)
    assert (found.monitor, found.mode, found.best) == ("val/map", "max", pytest.approx(0.7))
    assert found.resumed == 0


def test_resuming_is_counted_when_it_went_on_from_a_checkpoint(tmp_path: Path) -> None:
    first = fit(tmp_path, epochs=1)
    assert (first.epoch, first.stage, first.resumed) == (1, "first", 0)
    second = fit(tmp_path, resume=True)
    assert (second.epoch, second.step, second.resumed) == (3, 12, 1)
    assert second.started == first.started
    assert second.seconds >= first.seconds


def test_a_run_whose_last_test_was_cut_off_is_finished_when_it_is_resumed(tmp_path: Path) -> None:
    fit(tmp_path)
    with StatusFile.begin(tmp_path, True):  # ends before it has done anything
        pass
    again = fit(tmp_path, resume=True)
    assert (again.epoch, again.epochs, again.step, again.stage) == (3, 3, 12, "second")


def test_a_run_that_resumes_from_nothing_forgets_what_it_had(tmp_path: Path) -> None:
    StatusFile.begin(tmp_path).report(force=True, step=5, epoch=2, best=0.99)

    class Look(Callback):
        def on_train_batch_start(self, *_) -> None:
            self.found = self.found or read_status(tmp_path)

        found: Status | None = None

    look = Look()
    assert fit(tmp_path, look, resume=True).resumed == 0
    assert look.found is not None
    assert (look.found.step, look.found.epoch, look.found.best) == (0, 0, None)


def test_a_long_validation_does_not_look_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_file, "EVERY", 0.0)
    always = Writings(tmp_path)
    fit(tmp_path, always, epochs=1)
    # 2 more validation batches before training.
    assert always.counts == {"train": 4, "val": 6, "test": 4}


def test_the_batches_between_two_heartbeats_write_nothing(tmp_path: Path) -> None:
    rarely = Writings(tmp_path)
    fit(tmp_path, rarely, epochs=1)
    # What is begun before training, and what training begins and ends with.
    assert rarely.counts == {"train": 1, "val": 1, "test": 1}


def test_a_failure_keeps_how_far_it_came(tmp_path: Path) -> None:
    class Fails(Callback):
        def on_train_batch_end(self, trainer, *_) -> None:
            if trainer.global_step == 6:
                raise RuntimeError("NaN in batch 6")

    with pytest.raises(RuntimeError):
        fit(tmp_path, Fails())
    found = read_status(tmp_path)
    assert found is not None
    assert (found.state, found.error) == (RunState.failed, "RuntimeError: NaN in batch 6")
    assert (found.epoch, found.step, found.stage) == (1, 6, "second")
