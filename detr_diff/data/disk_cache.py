"""Shards of prepared frames on disk, shared by jobs.

One folder belongs to one way of preparing frames. A shard is two files: `<name>.bin`, the pixels,
and `<name>.npz`, which says whose they are. Each is written under another name first and the
.npz last; a shard without it does not count. Frames are found by the contents of their files, so
that a changed file is prepared again and a moved one is not.
"""

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from detr_diff.data.frame_cache import Shard

log = logging.getLogger(__name__)

INDEX = ("keys", "starts", "shapes", "aligned")


class DiskCache:
    """The shards of one way of preparing frames.

    Args:
        root: Folder of all caches; its size is bounded.
        recipe: All that prepared frames depend on beside their files.
        limit: Largest size of all shards below `root`, in bytes.
    """

    def __init__(self, root: Path, recipe: Mapping[str, Any], limit: int) -> None:
        text = json.dumps(recipe, sort_keys=True, default=str, indent=1)
        self.root = root
        self.folder = root / hashlib.sha256(text.encode()).hexdigest()[:16]
        self.limit = limit
        self._needed: set[Path] = set()
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(self.folder / "recipe.json", lambda path: path.write_text(text, encoding="utf-8"))

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Keep other jobs from preparing the same frames at the same time."""
        with (self.folder / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("another job fills the cache %s; waiting for it", self.folder)
                fcntl.flock(file, fcntl.LOCK_EX)
            for rest in self.folder.glob("*.npz.tmp"), self.folder.glob("*.bin.tmp"):
                for path in rest:  # of a job that was killed
                    path.unlink(missing_ok=True)
            for pixels in self.folder.glob("*.bin"):  # whose index was never written
                if not pixels.with_suffix(".npz").exists():
                    pixels.unlink(missing_ok=True)
            yield

    def shards(self) -> Iterator[tuple[Path, Shard]]:
        """All complete shards and their paths, the last used first."""
        for path in sorted(self.folder.glob("*.npz"), key=_used, reverse=True):
            try:
                with np.load(path) as index:
                    keys, starts, shapes, aligned = (index[name] for name in INDEX)
                pixels = _map(path.with_suffix(".bin"))
                if len(pixels) != int(starts[-1]) + int(np.prod(shapes[-1])):
                    raise ValueError("wrong size")
            except (OSError, ValueError, KeyError, EOFError, IndexError, BadZipFile) as error:
                log.warning("%s: not usable, its frames are prepared again (%s)", path, error)
                _remove(path)
                continue
            yield path, Shard(keys, starts, shapes, aligned, pixels)

    def keep(self, path: Path) -> None:
        """This shard is in use: others are thrown out before it."""
        self._needed.add(path)
        os.utime(path)

    def store(self, shard: Shard) -> Shard | None:
        """Write a shard; the least recently used ones make room for it.

        Returns:
            The shard as a memory map; None when there is no room, in the cache or on the disk.
        """
        if not self._make_room(len(shard.pixels)):
            return None
        path = self.folder / f"{uuid4().hex}.npz"
        pixels = path.with_suffix(".bin")

        def save(unfinished: Path) -> None:
            with unfinished.open("wb") as file:
                np.savez(
                    file, keys=shard.keys, starts=shard.starts, shapes=shard.shapes, aligned=shard.aligned
                )

        try:
            _write(pixels, shard.pixels.tofile)
            _write(path, save)
        except OSError as error:  # numpy gives no errno
            pixels.unlink(missing_ok=True)
            log.warning("%s: cannot be written: %s", self.folder, error.strerror or error)
            return None
        self._needed.add(path)
        return shard._replace(pixels=_map(pixels))

    def _make_room(self, size: int) -> bool:
        shards = sorted(self.root.glob("*/*.npz"), key=_used)
        total = size + sum(_size(path) for path in shards)
        others = (path for path in shards if path not in self._needed)
        if total - sum(_size(path) for path in shards if path not in self._needed) > self.limit:
            return False
        while total > self.limit:
            path = next(others)
            total -= _size(path)
            _remove(path)
        return True


def _map(pixels: Path) -> npt.NDArray[np.uint8]:
    # Copy on write: torch takes no memory that is read-only, and the file must stay as it is. A plain
    # array, whose parts are had sooner than those of a np.memmap.
    return np.asarray(np.memmap(pixels, np.uint8, "c"))


def _remove(index: Path) -> None:
    # The index first: a shard without it does not count. Jobs that have mapped the pixels keep them.
    index.unlink(missing_ok=True)
    index.with_suffix(".bin").unlink(missing_ok=True)


def _used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another job has thrown it out
        return 0.0


def _size(index: Path) -> int:
    try:
        return index.with_suffix(".bin").stat().st_size
    except FileNotFoundError:
        return 0


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name first, so that it is complete or not there."""
    # A name of its own: another process may write the same file.
    unfinished = path.with_name(f"{path.stem}-{uuid4().hex}{path.suffix}.tmp")
    try:
        write(unfinished)
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
