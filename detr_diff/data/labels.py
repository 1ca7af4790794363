"""YOLO label files: one object a line, `class cx cy w h`, normalised to the image."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from detr_diff.data.problem import Problem

_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_LINE_END = re.compile(r"\r\n|\n|\r")
_SMALLEST = float(np.finfo(np.float32).smallest_subnormal)  # less is 0 when boxes become float32


@dataclass(frozen=True)
class Labels:
    """The objects of one frame pair.

    Attributes:
        class_labels: int64 [N], index into the class names.
        boxes: float32 [N, 4], cxcywh in [0, 1].
    """

    class_labels: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]

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

    classes: list[int] = []
    boxes: list[tuple[float, ...]] = []
    first_line: dict[tuple[float, ...], int] = {}
    problems = []
    for number, line in enumerate(_LINE_END.split(text), start=1):
        fields = line.split("#", 1)[0].split()
        if not fields:
            continue
        row = _parse(fields, names)
        if isinstance(row, str):
            problems.append(Problem(path, number, row))
        elif row in first_line:
            problems.append(Problem(path, number, f"the same object as line {first_line[row]}"))
        else:
            first_line[row] = number
            classes.append(int(row[0]))
            boxes.append(row[1:])
    return Labels(np.array(classes, np.int64), np.array(boxes, np.float32).reshape(-1, 4)), problems


def _parse(fields: list[str], names: Sequence[str]) -> tuple[float, ...] | str:
    """One line as (class, cx, cy, w, h), or what is wrong with it."""
    if len(fields) != 5:
        return f"{len(fields)} fields, 5 expected: class cx cy w h"
    if not _INTEGER.fullmatch(fields[0]):
        return f"class {fields[0]!r} is not an integer"
    if len(fields[0]) > 9 or not 0 <= int(fields[0]) < len(names):
        known = ", ".join(f"{index} {name}" for index, name in enumerate(names[:20]))
        return f"class {fields[0]} is unknown, allowed: {known}"
    box = []
    for what, field in zip(("cx", "cy", "w", "h"), fields[1:], strict=True):
        try:
            value = float(field) if "_" not in field else math.nan
        except ValueError:
            value = math.nan
        if math.isnan(value):
            return f"{what} {field!r} is not a number"
        if not 0.0 <= value <= 1.0:
            return f"{what} {field} is outside [0, 1]; boxes are divided by the image size"
        if what in "wh" and value < _SMALLEST:
            return f"{what} {field} must be greater than 0"
        box.append(value)
    return (int(fields[0]), *box)
