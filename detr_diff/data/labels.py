"""YOLO label files: one box a line, `class cx cy w h`, normalised to the image.

Two more fields may say whether the box is the old or the new place of an object, and of which one:
`0 0.5 0.5 0.1 0.2 before 3` and `0 0.7 0.5 0.1 0.2 after 3` are the places of object 3. The number
holds within its file, and may be left out.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from detr_diff.choices import PLACES, Places
from detr_diff.data.problem import Problem

_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_LINE_END = re.compile(r"\r\n|\n|\r")
UNKNOWN = -1  # place or object of a line that does not say it
_SMALLEST = float(np.finfo(np.float32).smallest_subnormal)  # less is 0 when boxes become float32


def _unsaid() -> npt.NDArray[np.int64]:
    return np.zeros(0, np.int64)


@dataclass(frozen=True)
class Labels:
    """The objects of one frame pair.

    Attributes:
        class_labels: int64 [N], index into the class names.
        boxes: float32 [N, 4], cxcywh in [0, 1].
        places: int64 [N], 0 the old place of its object (before), 1 the new one (after), -1 unknown.
            Left out: all unknown.
        objects: int64 [N], number of its object in this pair, -1 unknown. Left out: all unknown.
    """

    class_labels: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]
    places: npt.NDArray[np.int64] = field(default_factory=_unsaid)
    objects: npt.NDArray[np.int64] = field(default_factory=_unsaid)

    def __post_init__(self) -> None:
        for name in ("places", "objects"):
            if len(getattr(self, name)) != len(self.class_labels):
                object.__setattr__(self, name, np.full(len(self.class_labels), UNKNOWN))

    def __len__(self) -> int:
        return len(self.class_labels)


NO_LABELS = Labels(np.zeros(0, np.int64), np.zeros((0, 4), np.float32))


def read_labels(path: Path, names: Sequence[str]) -> tuple[Labels, list[Problem]]:
    """Read a YOLO label file.

    An empty file is a pair in which nothing moved. Blank lines and what follows a `#` are
    skipped. Windows and old Mac line ends and a byte order mark are understood.

    Args:
        path: The label file.
        names: Class names; a class must be an index into them.

    Returns:
        The objects of the lines that are right, and a problem for every line that is not.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        return NO_LABELS, [Problem(path, 0, f"cannot be read: {error.strerror}")]
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(b"\n") + 1
        return NO_LABELS, [Problem(path, number, "not UTF-8 text")]

    rows: list[_Row] = []
    earlier: dict[object, list[tuple[int, _Row]]] = {}  # by box and by object, with their lines
    problems = []
    for number, line in enumerate(_LINE_END.split(text), start=1):
        fields = line.split("#", 1)[0].split()
        if not fields:
            continue
        row = _parse(fields, names)
        if isinstance(row, str):
            problems.append(Problem(path, number, row))
            continue
        same_box = earlier.setdefault((row.label, row.box), [])
        same_object = earlier.setdefault(row.object, []) if row.object != UNKNOWN else []
        fault = _contradiction(row, same_box, same_object)
        if fault:
            problems.append(Problem(path, number, fault))
            continue
        same_box.append((number, row))
        same_object.append((number, row))
        rows.append(row)
    labels = Labels(
        np.array([row.label for row in rows], np.int64),
        np.array([row.box for row in rows], np.float32).reshape(-1, 4),
        np.array([row.place for row in rows], np.int64),
        np.array([row.object for row in rows], np.int64),
    )
    return labels, problems


class _Row(NamedTuple):
    """One line: class, cxcywh, place and object, each -1 when it is not said."""

    label: int
    box: tuple[float, ...]
    place: int
    object: int


def _contradiction(
    row: _Row, same_box: Sequence[tuple[int, _Row]], same_object: Sequence[tuple[int, _Row]]
) -> str | None:
    """How this line contradicts an earlier one of the same box or object; None if it does not."""
    for line, other in same_box:
        # One object may stand where another of its class stood, when the lines say so.
        both_known = UNKNOWN not in (row.place, other.place)
        if not both_known or row.place == other.place or row.object == other.object != UNKNOWN:
            return f"the same object as line {line}"
    for line, other in same_object:
        if other.label != row.label:
            return f"object {row.object} is of class {row.label}, in line {line} of class {other.label}"
        if other.place == row.place:
            return f"object {row.object} has a place {PLACES[row.place]} in line {line} already"
    return None


def _parse(fields: list[str], names: Sequence[str]) -> _Row | str:
    """One line, or what is wrong with it."""
    # A number behind the box is of labels for another task, as polygons or key points.
    if len(fields) < 5 or (len(fields) > 5 and not math.isnan(_number(fields[5]))):
        return f"{len(fields)} fields, 5 expected: class cx cy w h"
    if len(fields) > 7:
        return f"{len(fields)} fields, at most 7 expected: class cx cy w h place object"
    if not _INTEGER.fullmatch(fields[0]):
        return f"class {fields[0]!r} is not an integer"
    if len(fields[0]) > 9 or not 0 <= int(fields[0]) < len(names):
        known = ", ".join(f"{index} {name}" for index, name in enumerate(names[:20]))
        return f"class {fields[0]} is unknown, allowed: {known}"
    box = []
    for what, text in zip(("cx", "cy", "w", "h"), fields[1:5], strict=True):
        value = _number(text)
        if math.isnan(value):
            return f"{what} {text!r} is not a number"
        if not 0.0 <= value <= 1.0:
            return f"{what} {text} is outside [0, 1]; boxes are divided by the image size"
        if what in "wh" and value < _SMALLEST:
            return f"{what} {text} must be greater than 0"
        box.append(value)
    place = number = UNKNOWN
    if len(fields) > 5:
        if fields[5] not in PLACES:
            return f"place {fields[5]!r} is unknown, allowed: {', '.join(PLACES)}"
        place = PLACES.index(Places(fields[5]))
    if len(fields) > 6:
        if not _NUMBER.fullmatch(fields[6]):
            return f"object {fields[6]!r} is not a whole number from 0, of at most 9 digits"
        number = int(fields[6])
    return _Row(int(fields[0]), tuple(box), place, number)


def _number(text: str) -> float:
    """nan where it is none."""
    try:
        return float(text) if "_" not in text else math.nan
    except ValueError:
        return math.nan
