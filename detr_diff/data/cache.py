"""Where prepared frames are kept, and how the cache of a data set is filled."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from detr_diff.choices import Cache
from detr_diff.data.ahead import ahead, threads
from detr_diff.data.dataset import MovedObjectDataset
from detr_diff.data.disk_cache import DiskCache
from detr_diff.data.frame_cache import FrameCache, Frames, Shard, pack
from detr_diff.data.progress import progress
from detr_diff.errors import SettingError

log = logging.getLogger(__name__)


class MemoryCache:
    """Shards in the memory of this process; forked workers share them.

    Args:
        limit: Largest size of all shards, in bytes.
    """

    def __init__(self, limit: int) -> None:
        self._room = limit

    def store(self, shard: Shard) -> Shard | None:
        """Keep a shard; None when there is no room."""
        if len(shard.pixels) > self._room:
            return None
        self._room -= len(shard.pixels)
        return shard


def open_store(
    cache: Cache, folder: str, gigabytes: float, recipe: Mapping[str, Any]
) -> DiskCache | MemoryCache:
    """Where frames are kept.

    Args:
        cache: disk or memory.
        folder: Of the disk cache.
        gigabytes: Largest size.
        recipe: All that prepared frames depend on beside their files.

    Raises:
        SettingError: `gigabytes` is no size, or the folder cannot be written to.
    """
    if not gigabytes > 0:
        raise SettingError(f"data.cache_gb={gigabytes}: a size above 0")
    limit = int(gigabytes * 1e9)
    if cache is Cache.memory:
        return MemoryCache(limit)
    try:
        return DiskCache(Path(folder).expanduser(), recipe, limit)
    except OSError as error:
        raise SettingError(f"data.cache_dir={folder}: cannot be written to: {error.strerror}") from error


def fill(dataset: MovedObjectDataset, store: DiskCache | MemoryCache) -> None:
    """Prepare the frames of a data set that are not kept, and use those that are.

    Args:
        dataset: Gets the cache.
        store: Where frames are kept; what finds no room there is prepared each time.
    """
    cache = FrameCache(dataset.contents())
    fill_from(cache, store, lambda missing: _prepared(dataset, missing.tolist()), "filling the cache")
    left = len(cache.missing())
    if left:
        log.warning("no room (data.cache_gb, or the disk): %d of %d pairs are not cached", left, len(dataset))
    dataset.cache = cache


def fill_from(
    cache: FrameCache,
    store: DiskCache | MemoryCache,
    make: Callable[[npt.NDArray[np.int64]], Iterator[Frames]],
    what: str,
) -> None:
    """Complete a cache with what is in a store, and the store with what is made.

    Args:
        cache: What is wanted.
        store: Where it is kept; when it is full, the rest stays missing.
        make: Positions in the cache to what belongs there, in order.
        what: What making is, for the progress bar.
    """
    with store.filling() if isinstance(store, DiskCache) else nullcontext():
        if isinstance(store, DiskCache):
            for path, shard in store.shards():
                if cache.add(shard):
                    store.keep(path)
        missing = cache.missing()
        for shard in pack(cache.keys[missing], progress(make(missing), what, len(missing))):
            stored = store.store(shard)
            if stored is None:
                break
            cache.add(stored)


def _prepared(dataset: MovedObjectDataset, rows: Sequence[int]) -> Iterator[Frames]:
    """The prepared frames of these pairs, in order, made on all cores.

    By threads: decoding and resizing let go of Python's lock, and nothing has to be copied between
    processes.
    """
    with threads() as pool:
        for _, frames in ahead(rows, lambda row: pool.submit(dataset.prepare, row)):
            yield frames.result()
