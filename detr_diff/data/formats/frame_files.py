"""Frames of a video as picture files, found by the number in their name."""

import re
from pathlib import Path

from detr_diff.data.discovery import EXTENSIONS

_NUMBER = re.compile(r"[0-9]{1,15}(?=[^0-9]*$)", re.ASCII)


def number_of(stem: str) -> int | None:
    """The last number in a file name without extension: 30 of `000030` and of `S_000001_frame_30`."""
    match = _NUMBER.search(stem)
    return int(match.group()) if match else None


def pictures_in(folder: Path) -> list[Path]:
    """The pictures right in a folder, by name."""
    files = (path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS)
    return sorted(path for path in files if path.name[0] != "." and path.is_file())
