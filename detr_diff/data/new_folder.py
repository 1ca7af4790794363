"""Folders that are complete or not there at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from uuid import uuid4

from detr_diff.errors import SettingError


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to write into, that gets its name when everything went well.

    Args:
        out: Its name; it must not exist, or be empty.

    Raises:
        SettingError: There is something in `out`, which is never overwritten.
    """
    require_new(out)
    # Not the number of the process: in a container it is always the same.
    unfinished = out.with_name(f".{out.name}.{uuid4().hex[:8]}")
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        if out.exists():
            out.rmdir()
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def require_new(out: Path) -> None:
    """Refuse a folder with something in it before work is done for it.

    Raises:
        SettingError: There is something in `out`.
    """
    if out.resolve() == Path.cwd():
        raise SettingError(f"out={out}: the folder in which the command is given; choose another one")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SettingError(f"out={out}: exists and is never overwritten; choose another folder")


@contextmanager
def numbered_folder(out: str | None, parent: Path, name: str) -> Iterator[tuple[Path, Path]]:
    """A folder as `new_folder` makes it, under the next free number when no name is given.

    Args:
        out: Its name; None for `parent`/`name`-1, -2, ...
        parent: Where numbered folders are.
        name: What they are of.

    Yields:
        The folder's name, and where its files are written until all are there.
    """
    if out is not None:
        with new_folder(Path(out).expanduser()) as folder:
            yield Path(out).expanduser(), folder
        return
    for number in count(1):
        path = parent / f"{name}-{number}"
        # Made at once, so that no other process takes the number.
        with suppress(FileExistsError):
            path.mkdir(parents=True)
            break
    try:
        with new_folder(path) as folder:
            yield path, folder
    except BaseException:
        path.rmdir()
        raise
