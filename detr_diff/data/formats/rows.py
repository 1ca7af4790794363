"""Lines and numbers of annotation files, read strictly."""

import math
import re
from collections.abc import Callable
from pathlib import Path

from detr_diff.data.problem import Problem

_LINE_END = re.compile(r"\r\n|\n|\r")
_INTEGER = re.compile(r"[+-]?[0-9]{1,15}", re.ASCII)


def read_rows(path: Path) -> tuple[list[tuple[int, str]], list[Problem]]:
    """The lines of a text file that are not blank, with their numbers from 1.

    Windows and old Mac line ends and a byte order mark are understood.

    Returns:
        The lines without the space around them; a problem when the file cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        return [], [Problem(path, 0, f"cannot be read: {error.strerror}")]
    except UnicodeDecodeError as error:
        return [], [Problem(path, error.object[: error.start].count(b"\n") + 1, "not UTF-8 text")]
    except ValueError as error:  # a NUL in the path
        return [], [Problem(path, 0, f"cannot be read: {error}")]
    lines = enumerate(_LINE_END.split(text), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()], []


def integer(field: str) -> int | None:
    """A whole number of at most 15 digits; None for anything else."""
    return int(field) if _INTEGER.fullmatch(field.strip()) else None


def number(field: str) -> float | None:
    """A finite number; None for anything else."""
    try:
        value = float(field) if "_" not in field else math.nan
    except ValueError:
        return None
    # Beyond this the area of a box is no number any more.
    return value if abs(value) <= 1e9 else None


def numbers(
    fields: list[str], names: tuple[str, ...], read: Callable[[str], float | None] = number
) -> list[float] | str:
    """Fields as numbers, or which of them is none and what it should be called."""
    values = []
    for name, field in zip(names, fields, strict=True):
        value = read(field)
        if value is None:
            what = "a whole number" if read is integer else "a finite number"
            return f"{name} {field!r} is not {what}"
        values.append(value)
    return values
