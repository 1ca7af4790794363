"""How far loading processes go ahead."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer

from detr_diff.choices import Diff
from detr_diff.data.datamodule import MovedObjectDataModule
from detr_diff.data.description import read_description
from detr_diff.data.diff import Comparison
from detr_diff.data.loading import build_loader, cores, evaluation_batch, worker_count
from detr_diff.model.threshold_blobs import unprocessed


@pytest.mark.parametrize(
    ("workers", "ahead", "each"), [(0, 16, None), (1, 2, 2), (1, 16, 16), (4, 16, 4), (8, 4, 2), (3, 16, 6)]
)
def test_all_workers_together_load_a_window_ahead(workers: int, ahead: int, each: int | None) -> None:
    loader = build_loader([0] * 8, workers, ahead)
    assert (loader.num_workers, loader.prefetch_factor) == (workers, each)


def test_a_gpu_gets_processes_that_load(monkeypatch: pytest.MonkeyPatch) -> None:
    for gpu, said, expected in ((True, None, min(8, cores())), (False, None, 0), (True, 0, 0), (False, 3, 3)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        assert worker_count(said) == expected
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(cores()))
    assert worker_count(None) == 1


@pytest.mark.parametrize("limit", ["limit_val_batches", "limit_test_batches"])
def test_a_limit_on_batches_is_meant_for_batches_as_they_are_said(data_root: Path, limit: str) -> None:
    given: dict[str, Any] = {"batch_size": 2, "split_by": "pair", "val": 0.5}
    data = MovedObjectDataModule(
        str(data_root), read_description(data_root).names, unprocessed(), Comparison(Diff.abs), **given
    )
    data.setup()
    assert len(data.val_dataloader()) == 1
    half: Any = {limit: 0.5}
    trainer: Any = Trainer(logger=False, enable_progress_bar=False, accelerator="cpu", **half)
    data.trainer = trainer
    assert len(data.loader("val")) == -(-len(data.datasets["val"]) // 2)


@pytest.mark.parametrize(
    ("sizes", "batch_size", "together"),
    [
        ({(128, 160)}, 4, 51),
        ({(128, 160)}, 64, 64),  # never fewer than in training
        ({(800, 1066)}, 2, 2),
        ({(128, 160), (128, 128)}, 4, 4),  # more of them would be padded
        (set(), 3, 3),
    ],
)
def test_many_small_images_are_evaluated_together(
    sizes: set[tuple[int, int]], batch_size: int, together: int
) -> None:
    assert evaluation_batch(sizes, batch_size) == together
