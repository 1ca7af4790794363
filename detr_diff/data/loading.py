"""Loaders whose workers keep out of each other's way."""

import math
import os
import sys
from collections.abc import Callable, Collection
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from detr_diff.data.worker import start_worker

Loader = TypeVar("Loader")
MOST_WORKERS = 8  # where their number is not said
# Pixels of the images that are evaluated together: one of a model's usual images, or many small ones. Without
# gradients they take little memory, and layers of small images are too short to be worth a call each.
TOGETHER = 2**20


class Reused(Generic[Loader]):
    """The loader that was built last, while it is asked for the same; so its workers stay."""

    def __init__(self) -> None:
        self._built: tuple[Any, Loader] | None = None

    def get(self, key: Any, build: Callable[[], Loader]) -> Loader:
        """The loader of that key; all that it depends on must be in the key."""
        if self._built is None or self._built[0] != key:
            self._built = None  # lets the workers of the old one go first
            self._built = key, build()
        return self._built[1]


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_count(said: int | None) -> int:
    """How many processes load; None: a GPU shall not wait, and a CPU has no core to spare."""
    if said is not None:
        return said
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(MOST_WORKERS, max(1, cores() // processes)) if torch.cuda.is_available() else 0


def evaluation_batch(sizes: Collection[tuple[int, int]], batch_size: int) -> int:
    """How many images are evaluated together where nothing is said: more than in training if they are small.

    Args:
        sizes: Heights and widths of the images; where there are several, more would be padded.
        batch_size: Of the training.
    """
    if len(sizes) != 1:
        return batch_size
    ((height, width),) = sizes
    return max(batch_size, TOGETHER // (height * width))


def limited(limit: float | None) -> bool:
    """Whether an epoch has only so many batches (a whole number), or a share of them."""
    return limit is not None and not (isinstance(limit, float) and limit == 1.0)


def build_loader(dataset: Dataset[Any], workers: int, ahead: int = 2, **settings: Any) -> DataLoader[Any]:
    """A DataLoader.

    Args:
        dataset: What is loaded.
        workers: Processes that load; 0 loads in the main process.
        ahead: Batches that they load before they are asked for; at least two each.
        **settings: Of the DataLoader.
    """
    if workers:
        settings["prefetch_factor"] = max(2, math.ceil(ahead / workers))
        if sys.platform == "linux":
            # Forked workers share the columns of the data set; others would get a copy each.
            settings["multiprocessing_context"] = "fork"
    return DataLoader(
        dataset,
        num_workers=workers,
        worker_init_fn=start_worker,
        # A private generator keeps the loader off the global one, which dropout draws on.
        generator=torch.Generator(),
        **settings,
    )
