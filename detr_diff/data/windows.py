"""Batches that know what their optimizer step holds."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader

from detr_diff.data.batch import Contents, Samples, contents


class Windows:
    """The batches of a loader, each with the contents of its accumulation window.

    An optimizer step accumulates the gradients of several batches. To normalise their loss by
    all objects of the step, the number must be known at the first of them; so a window is loaded
    before its first batch is handed out.

    Args:
        loader: Batches.
        accumulate: Batches of an optimizer step.
        remaining: Tells how many batches will be asked for when an iteration begins; the last
            window ends there.
    """

    def __init__(self, loader: DataLoader[Any], accumulate: int, remaining: Callable[[], int]) -> None:
        self.loader = loader
        self.accumulate = accumulate
        self.remaining = remaining

    @property
    def dataset(self) -> Any:
        """Of the loader."""
        return self.loader.dataset

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Samples]:
        batches = islice(iter(self.loader), self.remaining())
        while window := list(islice(batches, self.accumulate)):
            counted = [contents(batch) for batch in window]
            total = Contents(*(sum(column) for column in zip(*counted, strict=True)))
            for batch in window:
                yield batch._replace(window=total)
