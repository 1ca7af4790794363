"""Tracks of a video: MOTChallenge `gt.txt`, or a csv whose header names the columns."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from detr_diff.data.formats.imported import Box, fault_of
from detr_diff.data.formats.rows import integer, number, read_rows
from detr_diff.data.problem import Problem
from detr_diff.data.progress import progress

# MOT16, 17 and 20 (Milan et al. 2016, arXiv:1603.00831); MOT15 has a place in the world instead
# of class and visibility (Leal-Taixe et al. 2015, arXiv:1504.01942).
MOT16 = ("frame", "id", "x", "y", "w", "h", "conf", "class", "visibility")
MOT15 = (*MOT16[:7], "x3d", "y3d", "z3d")
LAYOUTS = {len(layout): layout for layout in (MOT16[:6], MOT16[:7], MOT16, MOT15)}
NEEDED = ("frame", "id", "w", "h")
KNOWN = {*MOT16, "xc", "yc", "visible_fraction"}


@dataclass(frozen=True)
class TrackedBox:
    """An object in one frame: index of its class, box in pixels, line that says so."""

    label: int
    box: Box
    line: int


@dataclass
class Tracks:
    """The objects of every frame of a video.

    Attributes:
        frames: From frame number to the objects in it by id; frames in which no object counts
            are there too.
        first_number: Number of the first frame of the video: 1 in MOTChallenge, 0 in a csv.
        problems: Every row that makes no sense.
        uncounted: How many rows do not count, by reason.
        lines: From frame number to the first line about it.
    """

    frames: dict[int, dict[int, TrackedBox]] = field(default_factory=dict)
    first_number: int = 1
    problems: list[Problem] = field(default_factory=list)
    uncounted: Counter[str] = field(default_factory=Counter)
    lines: dict[int, int] = field(default_factory=dict)


def read_tracks(path: Path, names: Sequence[str], min_visible: float, size: tuple[int, int]) -> Tracks:
    """Read a track file.

    A `.csv` begins with a header: `frame`, `id`, `w`, `h` and either `xc`, `yc` (centre) or `x`,
    `y` (top left corner), if need be `visible_fraction` or `visibility`, `class` (a name, or an
    index from 0) and `conf`. Other files have a MOTChallenge row a line: `frame, id, x, y, w, h`,
    conf, class from 1, visibility. Boxes are in pixels, as they stand. Rows with conf 0, rows of
    classes without a name and rows of hidden objects do not count.

    Args:
        path: The track file.
        names: Class names in the order of the class ids; all objects are of the first one where
            no class is given.
        min_visible: Objects less visible than this share do not count.
        size: Width and height of the frames in pixels.
    """
    lines, problems = read_rows(path)
    reader = _Reader(path, names, min_visible, size, Tracks(problems=problems))
    if lines:
        reader.read(lines)
    return reader.tracks


class _Reader:
    def __init__(
        self, path: Path, names: Sequence[str], min_visible: float, size: tuple[int, int], tracks: Tracks
    ) -> None:
        self.tracks = tracks
        self._path, self._names, self._min_visible, self._size = path, names, min_visible, size
        self._labels: dict[int, TrackedBox] = {}  # first row of each id

    def read(self, lines: list[tuple[int, str]]) -> None:
        """Fill `tracks`."""
        rows = [(line, _fields(text)) for line, text in lines]
        header = self._path.suffix.lower() == ".csv" or not any(map(_is_number, rows[0][1]))
        if header:
            self.tracks.first_number = 0
            line, fields = rows.pop(0)
            columns = tuple(name.lower() for name in fields)
            missing = [name for name in NEEDED if name not in columns]
            if not ({"xc", "yc"} <= set(columns) or {"x", "y"} <= set(columns)):
                missing.append("xc, yc or x, y")
            if missing:
                self._report(line, f"the header has no column {', '.join(missing)}")
                return
            if len(set(columns)) < len(columns):
                self._report(line, "the header names a column twice")
                return
        else:
            # The usual number of fields tells the layout; another one is a broken row.
            usual = Counter(len(fields) for _, fields in rows).most_common(1)[0][0]
            if usual not in LAYOUTS:
                message = f"{usual} fields, 6, 7, 9 or 10 expected: {','.join(MOT16)}"
                self._report(rows[0][0], message)
                return
            columns = LAYOUTS[usual]
        for line, fields in progress(rows, "reading the tracks"):
            if len(fields) != len(columns):
                message = f"{len(fields)} fields, {len(columns)} expected: {','.join(columns)}"
                self._report(line, message)
                continue
            fault = self._row(line, dict(zip(columns, fields, strict=True)), header)
            if fault is not None:
                self._report(line, fault)

    def _report(self, line: int, message: str) -> None:
        self.tracks.problems.append(Problem(self._path, line, message))

    def _row(self, line: int, row: dict[str, str], header: bool) -> str | None:
        """Take one row; what is wrong with it."""
        whole = {name: integer(row[name]) for name in ("frame", "id")}
        values = {name: number(row[name]) for name in KNOWN - {"frame", "id", "class"} if name in row}
        for name, value in (whole | values).items():
            if value is None:
                return f"{name} {row[name]!r} is not a {'whole' if name in whole else 'finite'} number"
        frame, track = whole["frame"], whole["id"]
        assert frame is not None
        assert track is not None
        found = {name: value for name, value in values.items() if value is not None}
        visible = found.get("visible_fraction", found.get("visibility", 1.0))
        if frame < self.tracks.first_number:
            return f"frame {frame}, but the first one has number {self.tracks.first_number}"
        if not 0 <= visible <= 1:
            return f"visibility {visible:g} is outside [0, 1]"
        w, h = found["w"], found["h"]
        if w <= 0 or h <= 0:
            return f"w {w:g} and h {h:g} must be greater than 0"
        x0, y0 = (found["xc"] - w / 2, found["yc"] - h / 2) if "xc" in found else (found["x"], found["y"])
        box = x0, y0, x0 + w, y0 + h
        label = self._label(row.get("class"), header)
        if isinstance(label, str):
            return label
        objects = self.tracks.frames.setdefault(frame, {})
        self.tracks.lines.setdefault(frame, line)
        if found.get("conf") == 0:
            self.tracks.uncounted["to be ignored (conf 0)"] += 1
        elif label is None:
            reason = (
                f"of class {row['class']}, which mot.names does not name, the first being {int(not header)}"
            )
            self.tracks.uncounted[reason] += 1
        elif visible < self._min_visible:
            self.tracks.uncounted[f"less visible than mot.min_visible={self._min_visible:g}"] += 1
        elif fault := fault_of(box, self._size):
            return fault
        elif track in objects:
            return f"object {track} is in frame {frame} already, in line {objects[track].line}"
        else:
            seen = TrackedBox(label, box, line)
            first = self._labels.setdefault(track, seen)
            if first.label != label:
                was = self._names[first.label]
                return f"object {track} is a {self._names[label]}, but a {was} in line {first.line}"
            objects[track] = seen
        return None

    def _label(self, given: str | None, header: bool) -> int | str | None:
        """Index of a class, None when it has no name, or what is wrong with it."""
        if given is None:
            return 0
        if header and given in self._names:
            return self._names.index(given)
        value = integer(given)
        least = 0 if header else 1
        if value is None or value < least:
            return f"class {given!r} is not a whole number from {least}"
        return value - least if value - least < len(self._names) else None


def _fields(text: str) -> list[str]:
    """The fields of a csv line; what is no csv is one field."""
    try:
        return [field.strip() for field in next(csv.reader([text]))]
    except csv.Error:
        return [text]


def _is_number(field: str) -> bool:
    return number(field) is not None
