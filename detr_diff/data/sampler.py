"""Order and randomness of the samples, as functions of (seed, epoch, position) alone."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Sampler


class SampleKey(NamedTuple):
    """What a training sample depends on: its augmentation is drawn from (seed, epoch, position)."""

    epoch: int
    position: int


def seed_for(*key: int) -> int:
    """Mix integers into one well-spread 64-bit seed."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


class EpochSampler(Sampler[SampleKey]):
    """Every sample once, in an order that is a function of (seed, epoch).

    The epoch travels with the index, so that workers need no message to know it.

    Args:
        size: Number of samples.
        seed: Another seed gives other orders.
        epoch: Tells the epoch when an iteration begins.
    """

    def __init__(self, size: int, seed: int, epoch: Callable[[], int]) -> None:
        self.size = size
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[SampleKey]:
        epoch = self.epoch()
        generator = torch.Generator().manual_seed(seed_for(self.seed, epoch))
        for position in torch.randperm(self.size, generator=generator).numpy():
            yield SampleKey(epoch, int(position))
