"""What a frozen part of the model made of the images of a data set, kept instead of them."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from detr_diff.data.augment import NO_AUGMENTATION
from detr_diff.data.batch import Packed, Samples, Target, collate
from detr_diff.data.cache import MemoryCache, fill_from
from detr_diff.data.check import REMEMBERED, content
from detr_diff.data.dataset import MovedObjectDataset
from detr_diff.data.disk_cache import DiskCache
from detr_diff.data.frame_cache import FrameCache, Frames
from detr_diff.data.image import digest
from detr_diff.data.labelled_pairs import LabelledPairs
from detr_diff.data.loading import build_loader
from detr_diff.data.sampler import SampleKey

Run = Callable[[Samples], Sequence[Tensor]]  # a batch of images to the outputs, each [B, ...]


class Layout(NamedTuple):
    """How the outputs of a sample lie in its record of bytes.

    Attributes:
        shapes: Of each output, without the batch.
        dtypes: Of each output.
    """

    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[torch.dtype, ...]

    @classmethod
    def of(cls, outputs: Sequence[Tensor]) -> "Layout":
        """Of outputs [B, ...]."""
        shapes = tuple(tuple(output.shape[1:]) for output in outputs)
        return cls(shapes, tuple(output.dtype for output in outputs))

    @property
    def nbytes(self) -> int:
        """Of a record."""
        return sum(self._lengths())

    def records(self, outputs: Sequence[Tensor]) -> Tensor:
        """The records of outputs [B, ...], uint8 [B, nbytes]."""
        flat = [output.cpu().reshape(len(output), -1).contiguous().view(torch.uint8) for output in outputs]
        records = torch.cat(flat, 1)
        if records.shape[1] != self.nbytes:
            raise ValueError("outputs of different sizes: the images have different sizes")
        return records

    def outputs(self, record: Tensor) -> list[Tensor]:
        """The outputs in a record uint8 [nbytes]."""
        parts = record.split(self._lengths())
        # Copies: a part may begin anywhere, a float must not.
        return [
            part.clone().view(dtype).view(shape)
            for part, dtype, shape in zip(parts, self.dtypes, self.shapes, strict=True)
        ]

    def _lengths(self) -> list[int]:
        return [
            int(np.prod(shape)) * dtype.itemsize
            for shape, dtype in zip(self.shapes, self.dtypes, strict=True)
        ]


Kept = tuple[list[Tensor], Target]  # outputs, and the target of the sample


class KeptOutputs(Dataset[Kept]):
    """A data set without images, but with what was made of them.

    Args:
        source: The data set with images.
        cache: The records; those of `source` begin at `first`.
        first: See `cache`.
        layout: Of a record.
    """

    def __init__(self, source: MovedObjectDataset, cache: FrameCache, first: int, layout: Layout) -> None:
        self.source = source
        self.cache = cache
        self.first = first
        self.layout = layout

    def __len__(self) -> int:
        return len(self.source)

    def forget(self) -> None:
        """Let the records go, whoever still has this data set."""
        self.cache = FrameCache(np.zeros(0, np.int64))

    def __getitem__(self, key: SampleKey | int) -> Kept:
        """The outputs and the target of a sample, see Samples."""
        index = key.position if isinstance(key, SampleKey) else key
        record = self.cache.get(self.first + index)
        assert record is not None
        outputs = self.layout.outputs(record.pixels.flatten())
        return outputs, self.source.target(key, record.aligned)

    @property
    def pairs(self) -> LabelledPairs:
        """Of the data set with images."""
        return self.source.pairs

    def image(self, index: int) -> Tensor:
        """The diff image, to be looked at; see MovedObjectDataset."""
        return self.source.image(index)


def collate_kept(samples: Sequence[Kept]) -> Samples:
    """A batch without images."""
    outputs, targets = zip(*samples, strict=True)
    kept = [torch.stack(column) for column in zip(*outputs, strict=True)]
    return Samples([], Packed.of(targets), kept=kept)


def first_layout(dataset: MovedObjectDataset, run: Run, batch_size: int) -> Layout:
    """The layout of the records of a data set, found out with its first batch."""
    plain = _plain(dataset)
    batch = collate([plain[index] for index in range(min(batch_size, len(plain)))])
    return Layout.of(run(batch))


def contents_of(datasets: Sequence[MovedObjectDataset]) -> str:
    """Digest of the frames of these data sets in their order, whatever their names."""
    digest_of = lru_cache(REMEMBERED)(digest)
    state = hashlib.sha256()
    for dataset in datasets:
        pairs = dataset.pairs
        for row in pairs.rows:
            known = int(pairs.contents[row])
            state.update(
                (known or content(map(digest_of, pairs.pairs[row].frames))).to_bytes(8, "big", signed=True)
            )
    return state.hexdigest()


def keep_outputs(
    datasets: Sequence[MovedObjectDataset],
    run: Run,
    layout: Layout,
    store: DiskCache | MemoryCache,
    batch_size: int,
    workers: int,
) -> list[KeptOutputs]:
    """Run the frozen part once on all images of some data sets.

    The outputs are a function of weights and data alone: always the same images make a batch,
    whoever asks and however much is kept already.

    Args:
        datasets: Images of one size; they are taken without augmentation.
        run: The frozen part.
        layout: See `first_layout`.
        store: Where the records go; there is room for all.
        batch_size: Images that are run together.
        workers: Processes that load.

    Raises:
        OSError: There is no room.
    """
    starts = np.cumsum([0, *map(len, datasets)])
    cache = FrameCache(np.arange(starts[-1]))

    def made(missing: npt.NDArray[np.int64]) -> Iterator[Frames]:
        for dataset, first in zip(datasets, starts, strict=False):
            own = missing[(missing >= first) & (missing < first + len(dataset))] - first
            yield from _records(_plain(dataset), own, run, layout, batch_size, workers)

    fill_from(cache, store, made, "running the frozen blocks once")
    if len(cache.missing()):
        raise OSError("no room on the disk")
    return [
        KeptOutputs(dataset, cache, int(first), layout)
        for dataset, first in zip(datasets, starts, strict=False)
    ]


def _records(
    dataset: MovedObjectDataset,
    wanted: npt.NDArray[np.int64],
    run: Run,
    layout: Layout,
    batch_size: int,
    workers: int,
) -> Iterator[Frames]:
    """The records of these samples in order; of a batch of which one is wanted, all are made."""
    rows, chosen = range(len(dataset)), set(wanted.tolist())
    batches = [rows[k * batch_size : (k + 1) * batch_size] for k in np.unique(wanted // batch_size)]
    loader = build_loader(dataset, workers, batch_sampler=batches, collate_fn=collate)
    for positions, batch in zip(batches, loader, strict=True):
        for position, record, target in zip(
            positions, layout.records(run(batch)), batch.targets, strict=True
        ):
            if position in chosen:
                # A record is kept as the frames of a pair are: as bytes.
                yield Frames(record[None, None, None], bool(target.get("aligned", True)))


def _plain(dataset: MovedObjectDataset) -> MovedObjectDataset:
    """The same data set without augmentation."""
    plain = copy(dataset)
    plain.strength = NO_AUGMENTATION
    return plain
