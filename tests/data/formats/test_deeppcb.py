import re
from pathlib import Path

import numpy as np
import pytest

from detr_diff.data.formats import deeppcb
from detr_diff.data.formats.imported import Change
from detr_diff.errors import SettingError
from tests.data.formats.mutation import lines_of, mutate
from tests.data.formats.pictures import save

ROWS = "466 441 493 470 3\n454 300 493 396 2\n0 0 640 640 1\n10,20,30,40,6\n"
BOARDS = ("00041000", "00041001", "20085000")


def add(root: Path, stem: str, rows: str = ROWS) -> Path:
    """A tested board, its template and its annotation; the path of the annotation."""
    group = stem[:5]
    for role in ("test", "temp"):
        save(root / f"group{group}/{group}/{stem}_{role}.jpg", np.zeros((640, 640, 3), np.uint8))
    path = root / f"group{group}/{group}_not/{stem}.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text(rows)
    return path


def listed(stem: str) -> str:
    return f"group{stem[:5]}/{stem[:5]}/{stem}.jpg group{stem[:5]}/{stem[:5]}_not/{stem}.txt\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """PCBData as its authors give it, with three boards."""
    root = tmp_path / "PCBData"
    for stem in BOARDS:
        add(root, stem)
    (root / "trainval.txt").write_text(listed(BOARDS[0]) + listed(BOARDS[2]))
    (root / "test.txt").write_text(listed(BOARDS[1]))
    return root


@pytest.mark.parametrize("above", [False, True])
def test_the_native_tree_is_read(tree: Path, above: bool) -> None:
    imported = deeppcb.read(tree.parent if above else tree)
    assert (imported.problems, imported.places) == ([], None)
    assert imported.names == ["open", "short", "mousebite", "spur", "copper", "pin-hole"]
    assert [(p.name, p.scene, p.split) for p in imported.pairs] == [
        ("00041000", "00041", "train"),
        ("00041001", "00041", "test"),
        ("20085000", "20085", "train"),
    ]
    pair = imported.pairs[0]
    assert pair.before == tree / "group00041/00041/00041000_temp.jpg"
    assert pair.after == tree / "group00041/00041/00041000_test.jpg"
    assert pair.size == (640, 640)
    assert pair.changes == [
        Change(2, None, (466, 441, 493, 470)),
        Change(1, None, (454, 300, 493, 396)),
        Change(0, None, (0, 0, 640, 640)),
        Change(5, None, (10, 20, 30, 40)),
    ]


def test_without_lists_there_are_no_splits(tree: Path) -> None:
    for name in ("trainval.txt", "test.txt"):
        (tree / name).unlink()
    imported = deeppcb.read(tree)
    assert imported.problems == []
    assert [pair.split for pair in imported.pairs] == [None] * 3


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1 2 3 4", "4 fields, 5 expected: x1 y1 x2 y2 type"),
        ("1 2 3 4 5 6", "6 fields, 5 expected: x1 y1 x2 y2 type"),
        ("1 2 3.5 4 5", "x2 '3.5' is not a whole number"),
        ("1 nan 3 4 5", "y1 'nan' is not a whole number"),
        ("1 2 3 4 open", "type 'open' is not a whole number"),
        (
            "1 2 3 4 0",
            "type 0 is unknown, allowed: 1 open, 2 short, 3 mousebite, 4 spur, 5 copper, 6 pin-hole",
        ),
        ("1 2 3 4 7", "type 7 is unknown, allowed: 1 open"),
        ("5 2 3 4 1", "width -2 and height 2 of a box must be greater than 0"),
        ("640 2 650 4 1", "box 640 2 650 4 (x0 y0 x1 y1) lies outside the picture of 640x640 pixels"),
    ],
)
def test_a_wrong_row_is_told(tree: Path, row: str, message: str) -> None:
    path = add(tree, BOARDS[0], f"1 1 9 9 1\r\n\r\n{row}\r\n1 1 9 9 2")
    imported = deeppcb.read(tree)
    assert len(imported.problems) == 1
    assert str(imported.problems[0]).startswith(f"{path}:3: {message}")
    assert len(imported.pairs[0].changes) == 2


def test_what_is_missing_is_told(tree: Path) -> None:
    group = tree / "group00041"
    (group / "00041/00041000_temp.jpg").unlink()
    (group / "00041_not/00041001.txt").unlink()
    (tree / "group20085/20085/20085000_test.jpg").unlink()
    imported = deeppcb.read(tree)
    assert imported.pairs == []
    assert [str(problem) for problem in imported.problems] == [
        f"{tree}/trainval.txt:2: no board {tree}/group20085/20085/20085000_test.jpg",
        f"{group}/00041/00041000_temp.jpg: no such file",
        f"{group}/00041_not/00041001.txt: cannot be read: No such file or directory",
        f"{tree}/group20085/20085/20085000_temp.jpg: its tested board is missing",
        f"{tree}/group20085/20085_not/20085000.txt: its tested board is missing",
    ]


def test_lists_that_contradict_are_told(tree: Path) -> None:
    (tree / "test.txt").write_text(
        f"group00041/00041/00041001.jpg group00041/00041_not/00041000.txt\n{listed(BOARDS[0])}one\n/ /\n"
    )
    problems = deeppcb.read(tree).problems
    path = tree / "test.txt"
    assert [str(problem) for problem in problems] == [
        f"{path}:1: group00041/00041_not/00041000.txt is not the annotation of group00041/00041/00041001.jpg",
        f"{path}:2: group00041/00041/00041000.jpg is listed already",
        f"{path}:3: 1 fields, 2 expected: image annotation",
        f"{path}:4: no board /_test.jpg",
        f"{tree}/group00041/00041/00041001_test.jpg: is in none of trainval.txt, test.txt",
    ]


def test_a_folder_without_boards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=re.escape(f"src={tmp_path}: no group*/*/*_test.jpg")):
        deeppcb.read(tmp_path)


def test_damaged_annotations_are_read_or_reported(tmp_path: Path) -> None:
    path = add(tmp_path, BOARDS[0])
    clean = 0
    for seed in range(300):
        content = mutate(ROWS.encode(), seed)
        path.write_bytes(content)
        imported = deeppcb.read(tmp_path)
        rows = lines_of(content)
        assert all(p.path == path and p.message and p.line for p in imported.problems)
        if rows is None:
            assert (len(imported.problems), imported.pairs) == (1, [])
            continue
        assert len(imported.problems) + len(imported.pairs[0].changes) == len(rows)
        told = {problem.line for problem in imported.problems}
        lines = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").split("\n")
        good = [line for number, line in enumerate(lines, 1) if line.strip() and number not in told]
        assert imported.pairs[0].changes == list(map(independently, good))
        clean += not told
    assert 30 < clean < 270


def independently(row: str) -> Change:
    x0, y0, x1, y1, kind = (int(field) for field in row.replace(",", " ").split())
    assert max(x0, 0) < min(x1, 640)
    assert max(y0, 0) < min(y1, 640)
    return Change(kind - 1, None, (x0, y0, x1, y1))


def test_damaged_rows_are_read_or_reported() -> None:
    told = 0
    for seed in range(4000):
        for row in lines_of(mutate(ROWS.encode(), seed)) or ():
            change = deeppcb._defect(row.strip(), (640, 640))
            if isinstance(change, str):
                assert change
                told += 1
            else:
                assert change == independently(row)
    assert told > 1000


def test_damaged_lists_are_read_or_reported(tree: Path) -> None:
    text = (tree / "trainval.txt").read_bytes()
    for seed in range(150):
        content = mutate(text, seed)
        (tree / "trainval.txt").write_bytes(content)
        imported = deeppcb.read(tree)
        assert imported.pairs[-1].split in ("train", "test")
        told = {problem.path for problem in imported.problems}
        named = [
            board
            for board in BOARDS
            if listed(board).strip().encode() in content.replace(b"\r", b"\n").split(b"\n")
        ]
        in_pairs = {pair.name for pair in imported.pairs}
        assert len(in_pairs) + len({p for p in told if p.suffix == ".jpg"}) == 3
        if lines_of(content) is not None:
            assert set(named) <= in_pairs
