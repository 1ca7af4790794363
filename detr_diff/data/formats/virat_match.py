"""Ready-made matches of the VIRAT course project: `<folder>-<frame 1>-<frame 2>_match.txt`.

Rows `object_id x y w h type` in pixels, x y the top left corner; two for each object, first its
old box, then its new one. <frame> is the file name of a frame without extension, or its number.
"""

from dataclasses import dataclass
from pathlib import Path

from detr_diff.data.formats.frame_files import number_of, pictures_in
from detr_diff.data.formats.imported import Box, Change, iou
from detr_diff.data.formats.rows import integer, read_rows
from detr_diff.data.formats.virat_annotation import box_of, type_of
from detr_diff.data.problem import Problem

SUFFIX = "_match.txt"


@dataclass(frozen=True)
class _Row:
    line: int
    object_id: int
    label: int
    box: Box


def read_matches(
    path: Path, size: tuple[int, int], moved_iou: float
) -> tuple[list[Change] | None, int, list[Problem]]:
    """Read a match file.

    Args:
        path: The match file; an empty one is a pair in which nothing moved.
        size: Width and height of the frames in pixels.
        moved_iou: An object moved when its old and new box overlap by at most this IoU.

    Returns:
        The objects that moved, None when the file cannot be read; how many did not move; and a
        problem for every row that is wrong or has no partner.
    """
    lines, problems = read_rows(path)
    if problems:
        return None, 0, problems
    changes: list[Change] = []
    stayed = 0
    old: _Row | None = None
    for line, text in lines:
        row = _parse(line, text, size)
        if isinstance(row, str):
            problems.append(Problem(path, line, row))
            continue
        if old is not None and old.object_id == row.object_id:
            if old.label != row.label:
                message = f"type {row.label}, but its old box in line {old.line} has type {old.label}"
                problems.append(Problem(path, line, message))
            elif iou(old.box, row.box) <= moved_iou:
                changes.append(Change(row.label, old.box, row.box))
            else:
                stayed += 1
            old = None
            continue
        if old is not None:
            problems.append(_alone(path, old))
        old = row
    if old is not None:
        problems.append(_alone(path, old))
    return changes, stayed, sorted(problems)


def _parse(line: int, text: str, size: tuple[int, int]) -> _Row | str:
    fields = text.split()
    if len(fields) != 6:
        return f"{len(fields)} fields, 6 expected: object_id x y w h type"
    object_id = integer(fields[0])
    if object_id is None:
        return f"object_id {fields[0]!r} is not a whole number"
    label, box = type_of(fields[5]), box_of(fields[1:5], size)
    if isinstance(label, str):
        return label
    return box if isinstance(box, str) else _Row(line, object_id, label, box)


def _alone(path: Path, row: _Row) -> Problem:
    return Problem(path, row.line, f"object {row.object_id} has no second row, its new box")


class FrameFolders:
    """The folders with pictures below one folder, to find the frames that a match file is about."""

    def __init__(self, root: Path) -> None:
        self._folders: dict[str, list[Path]] = {}
        for folder in sorted(path for path in (root, *root.rglob("*")) if path.is_dir()):
            self._folders.setdefault(folder.absolute().name, []).append(folder)

    def frames(self, match_file: Path) -> tuple[Path, Path] | str:
        """The two frames of a match file, or why they are not known."""
        words = match_file.name.removesuffix(SUFFIX).split("-")
        # Names may hold the dash that separates them.
        cuts = [(i, j) for i in range(1, len(words) - 1) for j in range(i + 1, len(words))]
        parts = [("-".join(words[:i]), "-".join(words[i:j]), "-".join(words[j:])) for i, j in cuts]
        found = [
            (old, new)
            for name, first, second in parts
            for folder in self._folders.get(name, [])
            for old in _named(folder, first)
            for new in _named(folder, second)
        ]
        if len(found) == 1:
            return found[0]
        if not parts:
            return f"the name must be <folder>-<frame 1>-<frame 2>{SUFFIX}"
        if not found:
            wanted = ", ".join(f"{name}/ with {first} and {second}" for name, first, second in parts)
            return f"its frames are missing: looked for {wanted}"
        return f"more than one pair of frames fits, first {found[0][0]} and {found[1][0]}"


def _named(folder: Path, frame: str) -> list[Path]:
    """The pictures of a folder that have this stem or else, when it is a number, this number."""
    pictures = pictures_in(folder)
    exact = [path for path in pictures if path.stem == frame]
    number = integer(frame)
    if exact or number is None:
        return exact
    return [path for path in pictures if number_of(path.stem) == number]
