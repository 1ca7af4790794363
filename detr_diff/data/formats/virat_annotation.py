"""Annotation rows of the VIRAT course project."""

from pathlib import Path

from detr_diff.data.formats.hungarian import Sighting
from detr_diff.data.formats.imported import Box, fault_of
from detr_diff.data.formats.rows import integer, numbers, read_rows
from detr_diff.data.problem import Problem

NAMES = ("unknown", "person", "car", "other_vehicle", "other_object", "bike")
UNKNOWN = NAMES.index("unknown")
FIELDS = ("object_id", "duration", "frame", "x", "y", "w", "h", "type")


def read_annotation(path: Path, size: tuple[int, int]) -> tuple[list[Sighting] | None, list[Problem]]:
    """Read the objects of one frame: rows `object_id duration frame x y w h type`, in pixels.

    Args:
        path: The annotation; an empty one is a frame without objects.
        size: Width and height of the frame in pixels.

    Returns:
        The objects of the rows that are right, None when the file cannot be read; and a problem
        for every row that is not right.
    """
    lines, problems = read_rows(path)
    if problems:
        return None, problems
    first_line: dict[Sighting, int] = {}
    for line, text in lines:
        seen = _parse(text.split(), size)
        if isinstance(seen, str):
            problems.append(Problem(path, line, seen))
        elif seen in first_line:
            problems.append(Problem(path, line, f"the same object as line {first_line[seen]}"))
        else:
            first_line[seen] = line
    return list(first_line), problems


def _parse(fields: list[str], size: tuple[int, int]) -> Sighting | str:
    """One row, or what is wrong with it."""
    if len(fields) != len(FIELDS):
        return f"{len(fields)} fields, {len(FIELDS)} expected: {' '.join(FIELDS)}"
    whole = numbers(fields[:3], FIELDS[:3], integer)
    if isinstance(whole, str):
        return whole
    box = box_of(fields[3:7], size)
    if isinstance(box, str):
        return box
    label = type_of(fields[7])
    return label if isinstance(label, str) else Sighting(label, box)


def type_of(field: str) -> int | str:
    """The class of a type, or what is wrong with it."""
    value = integer(field)
    if value is None or not 0 <= value < len(NAMES):
        allowed = ", ".join(f"{index} {name}" for index, name in enumerate(NAMES))
        return f"type {field!r} is unknown, allowed: {allowed}"
    return value


def box_of(fields: list[str], size: tuple[int, int]) -> Box | str:
    """Fields x y w h, x y the top left corner, as x0, y0, x1, y1; or what is wrong with them."""
    values = numbers(fields, ("x", "y", "w", "h"))
    if isinstance(values, str):
        return values
    x, y, w, h = values
    if w <= 0 or h <= 0:
        return f"w {w:g} and h {h:g} must be greater than 0"
    box = x, y, x + w, y + h
    return fault_of(box, size) or box
