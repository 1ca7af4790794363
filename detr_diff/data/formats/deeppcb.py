"""DeepPCB as its authors give it: a tested circuit board against its template.

Tang et al. 2019, arXiv:1902.06197; https://github.com/tangsanli5201/DeepPCB. The tree:

    PCBData/group00041/00041/00041000_test.jpg     the tested board, the after frame
    PCBData/group00041/00041/00041000_temp.jpg     its template, the before frame
    PCBData/group00041/00041_not/00041000.txt      a row `x1 y1 x2 y2 type` for each defect
    PCBData/trainval.txt, PCBData/test.txt         a row `group00041/00041/00041000.jpg
                                                   group00041/00041_not/00041000.txt` for each pair
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from detr_diff.data.formats.frame_size import FrameSizes
from detr_diff.data.formats.imported import Change, Imported, ImportedPair, fault_of
from detr_diff.data.formats.pair_names import PairNames
from detr_diff.data.formats.rows import integer, numbers, read_rows
from detr_diff.data.problem import Problem
from detr_diff.data.progress import progress
from detr_diff.errors import SettingError

NAMES = ["open", "short", "mousebite", "spur", "copper", "pin-hole"]
"""Types 1 to 6; 0 stands for the background and is never annotated."""
LISTS = {"trainval.txt": "train", "test.txt": "test"}
_SEPARATOR = re.compile(r"[\s,]+")


def read(src: Path) -> Imported:
    """Read the tree. The group is the scene; the lists tell the split where they are there.

    The difference lights up at the defect and nowhere else, so there is one box for each.

    Args:
        src: PCBData, or the folder that holds it.

    Raises:
        SettingError: There is no tested board in the folder.
    """
    root = src / "PCBData" if (src / "PCBData").is_dir() else src
    boards = sorted(root.glob("group*/*/*_test.jpg"))
    if not boards:
        raise SettingError(f"src={src}: no group*/*/*_test.jpg in it or in its folder PCBData")
    imported = Imported(list(NAMES), places=None)
    splits = _splits(root, imported.problems)
    names, sizes = PairNames(), FrameSizes()
    for after in progress(boards, "reading the boards"):
        stem = after.name.removesuffix("_test.jpg")
        before, annotation = after.with_name(f"{stem}_temp.jpg"), _annotation(after.parent, stem)
        size = sizes.of(before, after)
        if isinstance(size, Problem):
            imported.problems.append(size)
            continue
        split = splits.get(after)
        if splits and split is None:
            imported.problems.append(Problem(after, 0, f"is in none of {', '.join(LISTS)}"))
            continue
        rows, unreadable = read_rows(annotation)
        if unreadable:
            imported.problems += unreadable
            continue
        changes = []
        for line, row in rows:
            change = _defect(row, size)
            if isinstance(change, Change):
                changes.append(change)
            else:
                imported.problems.append(Problem(annotation, line, change))
        name, scene = names.unique(stem), after.parent.name
        imported.pairs.append(ImportedPair(name, before, after, size, changes, scene, split))
    imported.problems += _lonely(root, boards)
    return imported


def _annotation(folder: Path, stem: str) -> Path:
    """The annotation of a board of a folder: 00041_not/00041000.txt beside 00041/."""
    return folder.with_name(f"{folder.name}_not") / f"{stem}.txt"


def _defect(row: str, size: tuple[int, int]) -> Change | str:
    """A row of an annotation, or what is wrong with it."""
    fields = _SEPARATOR.split(row)
    if len(fields) != 5:
        return f"{len(fields)} fields, 5 expected: x1 y1 x2 y2 type"
    values = numbers(fields, ("x1", "y1", "x2", "y2", "type"), integer)
    if isinstance(values, str):
        return values
    x0, y0, x1, y1, kind = values
    if not 1 <= kind <= len(NAMES):
        known = ", ".join(f"{index} {name}" for index, name in enumerate(NAMES, start=1))
        return f"type {fields[4]} is unknown, allowed: {known}"
    box = (x0, y0, x1, y1)
    return fault_of(box, size) or Change(int(kind) - 1, None, box)


def _splits(root: Path, problems: list[Problem]) -> dict[Path, str]:
    """The split of each board that the lists name."""
    splits: dict[Path, str] = {}
    for name, split in LISTS.items():
        if not (root / name).exists():
            continue
        rows, unreadable = read_rows(root / name)
        problems += unreadable
        for line, row in rows:
            message = _enlist(root, row.split(), split, splits)
            if message:
                problems.append(Problem(root / name, line, message))
    return splits


def _enlist(root: Path, fields: list[str], split: str, splits: dict[Path, str]) -> str | None:
    """Add the board of a row of a list to the splits; what is wrong with the row."""
    if len(fields) != 2:
        return f"{len(fields)} fields, 2 expected: image annotation"
    # The lists name neither frame, but what their names have in common.
    stem = os.path.splitext(fields[0])[0]
    board = root / f"{stem}_test.jpg"
    if not os.path.isfile(board):
        return f"no board {board}"
    if root / fields[1] != _annotation(board.parent, os.path.basename(stem)):
        return f"{fields[1]} is not the annotation of {fields[0]}"
    if board in splits:
        return f"{fields[0]} is listed already"
    splits[board] = split
    return None


def _lonely(root: Path, boards: list[Path]) -> Iterator[Problem]:
    """Templates and annotations without a tested board."""
    known = {path.with_name(path.name.replace("_test.jpg", "_temp.jpg")) for path in boards}
    known |= {_annotation(path.parent, path.name.removesuffix("_test.jpg")) for path in boards}
    for pattern in ("group*/*/*_temp.jpg", "group*/*_not/*.txt"):
        for path in sorted(set(root.glob(pattern)) - known):
            yield Problem(path, 0, "its tested board is missing")
