"""Order and randomness of the samples, as functions of (seed, epoch, position) alone."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Sampler


class SampleKey(NamedTuple):
    """What a training sample depends on: its augmentation is drawn from (seed, epoch, position).

    A sample is padding where a process would have an empty batch: it is loaded and not counted.
    """

    epoch: int
    position: int
    padding: bool = False


class Share(NamedTuple):
    """Which of several processes loads."""

    rank: int = 0
    processes: int = 1


def seed_for(*key: int) -> int:
    """Mix integers into one well-spread 64-bit seed."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


def batches_of(size: int, batch_size: int, processes: int = 1) -> int:
    """Batches of an epoch, the same for each of several processes."""
    return -(-size // (batch_size * processes))


class InOrder:
    """Positions in the order found."""

    def __init__(self, size: int) -> None:
        self.size = size

    def at(self, epoch: int) -> npt.NDArray[np.int64]:
        """The positions of an epoch, int64 [size]."""
        return np.arange(self.size)


class Shuffled(InOrder):
    """Positions in an order that is a function of (seed, epoch)."""

    def __init__(self, size: int, seed: int) -> None:
        super().__init__(size)
        self.seed = seed

    def at(self, epoch: int) -> npt.NDArray[np.int64]:
        """The positions of an epoch, int64 [size]."""
        generator = torch.Generator().manual_seed(seed_for(self.seed, epoch))
        return torch.randperm(self.size, generator=generator).numpy()


class EpochBatches(Sampler[list[SampleKey]]):
    """Every sample once, in batches.

    Several processes cut the same batches into equal shares, so that n processes with batches of
    b take the steps of one process with batches of n * b. The epoch travels with the position, so
    that workers need no message to know it.

    Args:
        order: Which positions, and in which order.
        batch_size: Of one process.
        share: Which process this is.
        epoch: Tells the epoch when an iteration begins.
        start: Tells the first batch when an iteration begins; 0 but for a resumed epoch.
    """

    def __init__(
        self,
        order: InOrder,
        batch_size: int,
        share: Share = Share(),  # noqa: B008 - a constant
        epoch: Callable[[], int] = lambda: 0,
        start: Callable[[], int] = lambda: 0,
    ) -> None:
        self.order = order
        self.batch_size = batch_size
        self.share = share
        self.epoch = epoch
        self.start = start

    def __len__(self) -> int:
        return batches_of(self.order.size, self.batch_size, self.share.processes)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        epoch = self.epoch()
        positions = self.order.at(epoch)
        rank, processes = self.share
        step = self.batch_size * processes
        for first in range(self.start() * step, len(positions), step):
            together = positions[first : first + step]
            own = np.array_split(together, processes)[rank].tolist()
            yield [SampleKey(epoch, position) for position in own] or [
                SampleKey(epoch, int(together[0]), True)
            ]
