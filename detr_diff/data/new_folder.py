"""Folders that are complete or not there at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
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
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SettingError(f"out={out}: exists and is never overwritten; choose another folder")
