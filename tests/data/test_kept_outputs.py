"""Kept outputs are those that were made, whatever happens between."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from transformers import DetrImageProcessor, RTDetrImageProcessor

from detr_diff.choices import Diff, Registration
from detr_diff.data import frame_cache
from detr_diff.data.augment import NO_AUGMENTATION, STRENGTHS
from detr_diff.data.batch import Samples, collate
from detr_diff.data.cache import MemoryCache
from detr_diff.data.datamodule import MovedObjectDataModule
from detr_diff.data.dataset import MovedObjectDataset
from detr_diff.data.diff import Comparison
from detr_diff.data.disk_cache import DiskCache
from detr_diff.data.kept_outputs import (
    Layout,
    collate_kept,
    contents_of,
    first_layout,
    keep_outputs,
)
from detr_diff.data.sampler import SampleKey
from detr_diff.data.synthetic import NAMES

BATCH = 4
DTYPES = [torch.float32, torch.bfloat16, torch.bool, torch.int64, torch.uint8]


@given(st.lists(st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(1, 4), max_size=3)), min_size=1))
def test_a_record_holds_the_outputs(listed: list[tuple[torch.dtype, list[int]]]) -> None:
    outputs = [torch.randint(0, 2, (3, *shape)).to(dtype) for dtype, shape in listed]
    layout = Layout.of(outputs)
    records = layout.records(outputs)
    assert records.shape == (3, layout.nbytes)
    for row, record in enumerate(records):
        for output, again in zip(outputs, layout.outputs(record), strict=True):
            assert again.dtype == output.dtype
            assert torch.equal(again, output[row])


def data(root: Path, registration: Registration = Registration.none) -> MovedObjectDataModule:
    processor = RTDetrImageProcessor(size={"height": 32, "width": 64})
    comparison = Comparison(Diff.stack, registration)
    module = MovedObjectDataModule(str(root), NAMES, processor, comparison, split_by="scene", test=0.2)
    module.setup()
    return module


class Prefix:
    """Stands for a network: means over the pixels, and which images it has seen together."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.batches: list[list[int]] = []
        self.fails_at = fails_at

    def __call__(self, batch: Samples) -> list[Tensor]:
        if len(self.batches) == self.fails_at:
            raise KeyboardInterrupt
        self.batches.append([int(target["index"]) for target in batch.targets])
        means = torch.stack([image.float().mean((1, 2)) for image in batch.images])
        return [means[:, :, None] * torch.arange(400.0), means > 0]


def keep(datasets: Sequence[MovedObjectDataset], store: Any, prefix: Prefix, workers: int = 0) -> list[Any]:
    layout = first_layout(datasets[0], Prefix(), BATCH)
    kept = keep_outputs(datasets, prefix, layout, store, BATCH, workers)
    return [[one[SampleKey(7, index)] for index in range(len(one))] for one in kept]


def same(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


@pytest.fixture
def root(data_root: Path, tmp_path: Path) -> Path:
    """The miniature data, to be changed."""
    return Path(shutil.copytree(data_root, tmp_path / "data"))


@pytest.mark.parametrize(("disk", "workers"), [(False, 0), (True, 1)])
def test_samples_are_the_outputs_of_their_images(
    data_root: Path, tmp_path: Path, disk: bool, workers: int
) -> None:
    module = data(data_root, Registration.phase)
    datasets = [module.datasets["train"], module.datasets["val"]]
    datasets[0].strength = STRENGTHS["light"]  # of which nothing may be seen
    store = DiskCache(tmp_path, {}, 10**9) if disk else MemoryCache(10**9)
    kept = keep(datasets, store, Prefix(), workers)
    datasets[0].strength = NO_AUGMENTATION
    for dataset, samples in zip(datasets, kept, strict=True):
        assert len(samples) == len(dataset) > 1
        for index, (outputs, target) in enumerate(samples):
            image, expected = dataset[SampleKey(7, index)]
            assert same(target, expected)
            assert "aligned" in target
            assert same(outputs, [output[0] for output in Prefix()(collate([(image, expected)]))])


def test_a_batch_has_outputs_and_no_pixels(data_root: Path) -> None:
    dataset = data(data_root).datasets["train"]
    layout = first_layout(dataset, Prefix(), BATCH)
    (kept,) = keep_outputs([dataset], Prefix(), layout, MemoryCache(10**9), BATCH, 0)
    batch = collate_kept([kept[index] for index in (3, 1)])
    assert batch.kept is not None
    assert [tuple(one.shape) for one in batch.kept] == [(2, 9, 400), (2, 9)]
    assert [int(target["index"]) for target in batch.targets] == [3, 1]
    assert kept.pairs is dataset.pairs
    assert torch.equal(kept.image(2), dataset.image(2))


def test_an_interrupted_pass_goes_on_in_the_same_batches(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_cache, "SHARD_BYTES", 100_000)  # seven samples: not whole batches
    module = data(data_root)
    datasets = [module.datasets["train"], module.datasets["val"]]
    whole = Prefix()
    expected = keep(datasets, DiskCache(tmp_path / "whole", {}, 10**9), whole)
    assert [len(batch) for batch in whole.batches] == [4, 4, 4, 4, 4, 4, 3]

    with pytest.raises(KeyboardInterrupt):
        keep(datasets, DiskCache(tmp_path / "broken", {}, 10**9), Prefix(fails_at=3))
    rest = Prefix()
    assert same(keep(datasets, DiskCache(tmp_path / "broken", {}, 10**9), rest), expected)
    assert rest.batches == whole.batches[1:]  # the first batch was kept whole
    again = Prefix()
    assert same(keep(datasets, DiskCache(tmp_path / "broken", {}, 10**9), again), expected)
    assert again.batches == []


def test_a_full_disk_cache_of_others_makes_room(data_root: Path, tmp_path: Path) -> None:
    dataset = data(data_root).datasets["val"]
    needed = first_layout(dataset, Prefix(), BATCH).nbytes * len(dataset)
    old = keep([dataset], DiskCache(tmp_path, {"weights": 1}, needed), Prefix())
    assert same(keep([dataset], DiskCache(tmp_path, {"weights": 2}, needed), Prefix()), old)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.bin")) == needed


def test_the_contents_are_those_of_the_files_in_their_order(root: Path) -> None:
    module = data(root)
    first = contents_of([module.datasets["train"], module.datasets["val"]])
    assert contents_of([module.datasets["val"], module.datasets["train"]]) != first
    moved = data(root.rename(root.parent / "moved"))
    assert contents_of([moved.datasets["train"], moved.datasets["val"]]) == first
    cached = MovedObjectDataModule(
        str(root.parent / "moved"),
        NAMES,
        module.processor,
        module.comparison,
        split_by="scene",
        test=0.2,
        cache="memory",
    )
    cached.setup()
    assert contents_of([cached.datasets["train"], cached.datasets["val"]]) == first
    frame = moved.datasets["train"].pairs[0].pair.frames[0]
    Image.fromarray(255 - np.asarray(Image.open(frame))).save(frame)
    assert contents_of([moved.datasets["train"], moved.datasets["val"]]) != first


def test_images_of_other_sizes_are_seen(root: Path) -> None:
    module = data(root)
    assert module.datasets["train"].sizes() == {(32, 64)}
    module.processor = DetrImageProcessor(size={"shortest_edge": 40, "longest_edge": 100})
    label = sorted((root / "labels").rglob("*.txt"))[0]
    for role in ("before", "after"):
        (frame,) = (root / "images").rglob(f"*{label.stem}_{role}.*")
        Image.open(frame).resize((64, 48)).save(frame)
    module.datasets = {}
    module.setup()
    assert module.datasets["all"].sizes() == {(40, 40), (40, 53)}


def test_outputs_of_another_size_are_refused(data_root: Path) -> None:
    dataset = data(data_root).datasets["train"]
    layout = first_layout(dataset, Prefix(), BATCH)
    with pytest.raises(ValueError, match="the images have different sizes"):
        layout.records([torch.zeros(1, 9, 401), torch.zeros(1, 9, dtype=torch.bool)])
