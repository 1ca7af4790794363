"""Loaders whose workers keep out of each other's way."""

import sys
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset


def build_loader(dataset: Dataset[Any], workers: int, **settings: Any) -> DataLoader[Any]:
    """A DataLoader.

    Args:
        dataset: What is loaded.
        workers: Processes that load; 0 loads in the main process.
        **settings: Of the DataLoader.
    """
    if workers and sys.platform == "linux":
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
