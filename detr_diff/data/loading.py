"""Loaders whose workers keep out of each other's way."""

import math
import sys
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

Loader = TypeVar("Loader")


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
        worker_init_fn=_one_thread,
        # A private generator keeps the loader off the global one, which dropout draws on.
        generator=torch.Generator(),
        **settings,
    )


def _one_thread(worker: int) -> None:
    """With several threads each, workers fight for the cores."""
    torch.set_num_threads(1)
