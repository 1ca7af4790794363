"""Where prepared frames are kept, and how the cache of a data set is filled."""

import logging
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import numpy as np
import numpy.typing as npt

from detr_diff.data.disk_cache import DiskCache
from detr_diff.data.frame_cache import FrameCache, Frames, Keys, Shard, pack

log = logging.getLogger(__name__)


class MemoryCache:
    """Shards in the memory of this process; forked workers share them.

    Args:
        limit: Largest size of all shards, in bytes.
    """

    def __init__(self, limit: int) -> None:
        self.room = limit

    def store(self, shard: Shard) -> Shard | None:
        """Keep a shard; None when there is no room."""
        self.room -= len(shard.pixels)
        return shard if self.room >= 0 else None


def fill(
    store: DiskCache | MemoryCache,
    keys: Keys,
    prepare: Callable[[npt.NDArray[np.int64]], Iterator[Frames]],
) -> FrameCache:
    """The cache of a data set, with every frame prepared for which there is room.

    Args:
        store: Where frames are kept.
        keys: int64 [N], the contents of each pair.
        prepare: Gives the frames of the pairs at these positions, in that order.
    """
    cache = FrameCache(keys)
    with store.filling() if isinstance(store, DiskCache) else nullcontext():
        if isinstance(store, DiskCache):
            for path, shard in store.shards():
                if cache.add(shard):
                    store.keep(path)
        missing = cache.missing()
        for shard in pack(keys[missing], prepare(missing)) if len(missing) else ():
            stored = store.store(shard)
            if stored is None:
                break
            cache.add(stored)
    left = len(cache.missing())
    if left:
        log.warning("data.cache_gb is too small: %d of %d pairs are not cached", left, len(keys))
    return cache
