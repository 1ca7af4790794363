"""How many pairs could not be aligned."""

from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader

from detr_diff.data.batch import Batch
from detr_diff.training.alignment_callback import AlignmentCallback

ALIGNED = (True, False, False, True, False)  # of five pairs, the last is padding


def batches() -> list[Batch]:
    """One pair each."""
    targets = [
        {"aligned": torch.tensor([aligned]), "padding": torch.tensor([index == 4])}
        for index, aligned in enumerate(ALIGNED)
    ]
    return [Batch(torch.ones(1, 1), None, [target]) for target in targets]


class Line(LightningModule):
    """Learns one number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        return ((self.weight - batch.images) ** 2).mean()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        pass

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(folder: Path) -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_epochs=1,
        default_root_dir=folder,
        callbacks=[AlignmentCallback()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )


def loader(items: list[Batch]) -> DataLoader[Any]:
    return DataLoader(items, batch_size=None)  # type: ignore[arg-type]


def test_pairs_are_counted_and_padding_is_not(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run.fit(Line(), loader(batches()), loader(batches()[:2]))
    assert run.callback_metrics["train/unaligned"] == 2
    assert run.callback_metrics["val/unaligned"] == 1
    (figures,) = run.test(Line(), loader(batches()), verbose=False)
    assert figures == {"test/unaligned": 2}


def test_data_that_are_not_aligned_have_no_count(tmp_path: Path) -> None:
    plain = [Batch(b.images, None, [{"padding": b.targets[0]["padding"]}]) for b in batches()]
    run = trainer(tmp_path)
    run.fit(Line(), loader(plain), loader(plain))
    assert not run.callback_metrics


def test_what_was_counted_before_a_stop_counts_once() -> None:
    saved = AlignmentCallback()
    own: Any = Line()
    run = trainer(Path())
    run.strategy.connect(own)
    for number, batch in enumerate(batches()[:3]):
        saved.on_train_batch_end(run, own, None, batch, number)
    checkpoint: dict[str, Any] = {}
    saved.on_save_checkpoint(run, own, checkpoint)
    assert checkpoint == {"unaligned": 2}
    resumed = AlignmentCallback()
    resumed.on_load_checkpoint(run, own, checkpoint)
    assert resumed.counts == {"train": 2}
    other: Any = type("Second", (), {"is_global_zero": False})()  # of two processes
    resumed.on_load_checkpoint(other, own, checkpoint)
    assert resumed.counts == {"train": 0}
