"""Frames that are ready to be augmented and compared, kept as uint8."""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

SHARD_BYTES = 128 * 2**20

Keys = npt.NDArray[np.int64]


class Frames(NamedTuple):
    """The frames of a pair: decoded, aligned and resized.

    Attributes:
        pixels: uint8 [2, 3, H, W], before and after; [1, 3, H, W] of a ready diff image.
        aligned: False when the registration gave up.
    """

    pixels: Tensor
    aligned: bool


class Shard(NamedTuple):
    """The frames of some pairs, one after the other.

    Attributes:
        keys: int64 [n], the contents that the frames were made from.
        starts: int64 [n], first byte of each.
        shapes: int32 [n, 4].
        aligned: bool [n].
        pixels: uint8 [bytes]; in memory or a memory map.
    """

    keys: Keys
    starts: npt.NDArray[np.int64]
    shapes: npt.NDArray[np.int32]
    aligned: npt.NDArray[np.bool_]
    pixels: npt.NDArray[np.uint8]


class FrameCache:
    """The kept frames of the pairs of a data set.

    Args:
        keys: int64 [N], the contents of each pair.
    """

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self._shards: list[Shard] = []
        # Of each pair: its shard, -1 for none, and its number in there.
        self._shard = np.full(len(keys), -1, np.int32)
        self._entry = np.zeros(len(keys), np.int32)

    def add(self, shard: Shard) -> bool:
        """Use a shard; False when it serves no pair that was not served before."""
        order = np.argsort(shard.keys)
        place = np.searchsorted(shard.keys, self.keys, sorter=order)
        entry = order[np.minimum(place, len(order) - 1)]
        new = (shard.keys[entry] == self.keys) & (self._shard < 0)
        self._entry[new] = entry[new]
        self._shard[new] = len(self._shards)
        if new.any():
            self._shards.append(shard)
        return bool(new.any())

    def get(self, index: int) -> Frames | None:
        """The frames of a pair, or None when they are not kept; what is kept itself, not to be written to."""
        number = int(self._shard[index])
        if number < 0:
            return None
        shard, entry = self._shards[number], int(self._entry[index])
        shape = shard.shapes[entry].tolist()
        start = int(shard.starts[entry])
        pixels = shard.pixels[start : start + math.prod(shape)].reshape(shape)
        return Frames(torch.from_numpy(pixels), bool(shard.aligned[entry]))

    def missing(self) -> npt.NDArray[np.int64]:
        """Pairs that are not kept, one of each content."""
        rows = np.nonzero(self._shard < 0)[0]
        _, first = np.unique(self.keys[rows], return_index=True)
        return rows[np.sort(first)]


def pack(keys: Keys, frames: Iterable[Frames]) -> Iterator[Shard]:
    """Shards of some 128 MB with the frames of these keys."""
    part: list[Frames] = []
    first = size = 0
    for entry in frames:
        part.append(entry)
        size += entry.pixels.numel()
        if size >= SHARD_BYTES:
            yield _shard(keys[first : first + len(part)], part)
            first, size, part = first + len(part), 0, []
    if part:
        yield _shard(keys[first:], part)


def _shard(keys: Keys, frames: list[Frames]) -> Shard:
    sizes = [entry.pixels.numel() for entry in frames]
    return Shard(
        keys,
        np.cumsum([0, *sizes[:-1]], dtype=np.int64),
        np.array([entry.pixels.shape for entry in frames], np.int32),
        np.array([entry.aligned for entry in frames], bool),
        np.concatenate([entry.pixels.numpy().ravel() for entry in frames]),
    )
