"""What an importer hands over: frame pairs and the objects that changed place in them."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from detr_diff.choices import Places
from detr_diff.data.problem import Problem

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the frame."""

LEAST = 1e-6  # share of the picture; a thinner sliver of a box would be written without width


@dataclass(frozen=True)
class Change:
    """One object that changed place.

    Attributes:
        label: Index into the class names.
        before: Its old box; None when it appeared.
        after: Its new box; None when it left. Ready labels, of which nobody knows whether they
            are old or new places, stand here too.
    """

    label: int
    before: Box | None
    after: Box | None


@dataclass(frozen=True)
class ImportedPair:
    """Two frames and what changed between them.

    Attributes:
        name: Unique in the data set, usable as a file name; may hold `/`.
        before: The earlier frame; None when `after` is a ready diff image.
        after: The later frame.
        size: Width and height of the frames in pixels.
        changes: The objects that changed place; their boxes overlap the frame.
        scene: Unit of splitting; None when unknown.
        split: train, val or test where the source says so.
        stayed: Number of objects that are in both frames and did not move.
    """

    name: str
    before: Path | None
    after: Path
    size: tuple[int, int]
    changes: list[Change]
    scene: str | None = None
    split: str | None = None
    stayed: int = 0


@dataclass
class Imported:
    """Everything that a source holds.

    Attributes:
        names: Class names.
        pairs: The frame pairs that can be used.
        problems: Every row and file that could not be used.
        notes: Lines for the summary.
        places: The most that the source knows: `changed` when objects that appeared or left are
            known, `both` when only old and new boxes of moved ones are; None for ready labels,
            of which nobody knows which places they name.
    """

    names: list[str]
    pairs: list[ImportedPair] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    places: Places | None = Places.changed


def labels_of(change: Change, places: Places | None) -> list[Box]:
    """The boxes of a change that are labelled.

    Args:
        change: What happened to one object.
        places: Which places are labelled; None for ready labels, which are labelled as given.

    Returns:
        No box for an object that appeared or left, unless `places` is `changed` or None.
    """
    old, new = change.before, change.after
    if places in (None, Places.changed):
        return [box for box in (old, new) if box is not None]
    if old is None or new is None:
        return []
    return {Places.before: [old], Places.after: [new]}.get(places, [old, new])


def fault_of(box: Box, size: tuple[int, int]) -> str | None:
    """What is wrong with a box, as the end of an error message; None when it can be used.

    A box that overlaps the picture is right, also when it reaches beyond it.

    Args:
        box: x0, y0, x1, y1 in pixels.
        size: Width and height of the picture in pixels.
    """
    x0, y0, x1, y1 = box
    if not all(map(math.isfinite, box)):
        return "a box must be made of finite numbers"
    if not (x1 > x0 and y1 > y0):
        return f"width {x1 - x0:g} and height {y1 - y0:g} of a box must be greater than 0"
    left, top, right, bottom = clipped(box, size)
    if right - left < LEAST * size[0] or bottom - top < LEAST * size[1]:
        corners = " ".join(f"{value:g}" for value in box)
        return f"box {corners} (x0 y0 x1 y1) lies outside the picture of {size[0]}x{size[1]} pixels"
    return None


def clipped(box: Box, size: tuple[int, int]) -> Box:
    """The part of a box inside the picture."""
    (x0, y0, x1, y1), (width, height) = box, size
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, in [0, 1]."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)
