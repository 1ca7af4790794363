from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detr_diff.data.formats import yolo
from detr_diff.data.formats.data_yaml import read_data_yaml
from detr_diff.errors import UserError
from tests.data.formats.mutation import lines_of, mutate
from tests.data.formats.pictures import save

ROWS = "0 0.5 0.5 0.25 0.5\n1 0.125 0.25 0.25 0.125\n"


def picture(root: Path, name: str, rows: str | None = ROWS) -> Path:
    """A picture 64x48 under images/ with its label under labels/; the path of the label."""
    save(root / f"images/{name}.png", np.zeros((48, 64, 3), np.uint8))
    label = root / f"labels/{name}.txt"
    if rows is not None:
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(rows)
    return label


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two training pictures, one of them in a folder, and one for validation."""
    for name in ("train/1", "train/yard/2", "val/3"):
        picture(tmp_path, name)
    describe(tmp_path, "train: images/train\nval: images/val")
    return tmp_path


def describe(root: Path, text: str, names: str = "names: [person, no]") -> Path:
    (root / "data.yaml").write_text(f"{text}\n{names}\n")
    return root / "data.yaml"


def found(root: Path) -> list[tuple]:
    imported = yolo.read(root)
    assert imported.problems == []
    assert (imported.names, imported.places) == (["person", "no"], None)
    for pair in imported.pairs:
        assert (pair.before, pair.size) == (None, (64, 48))
        assert [(c.label, c.before, c.after) for c in pair.changes] == [
            (0, None, (24, 12, 40, 36)),
            (1, None, (0, 9, 16, 15)),
        ]
    return [(pair.name, pair.scene, pair.split) for pair in imported.pairs]


ALL = [("1", None, "train"), ("yard/2", "yard", "train"), ("3", None, "val")]


@pytest.mark.parametrize(
    "text",
    [
        "train: images/train\nval: images/val\ntest:\nnc: 2",
        "train: [images/train]\nvalidation: images/val",
        "path: .\ntrain: ./images/train\nval: images/val/",
        "path: {root}\ntrain: '{root}/images/train'\nval: images/val",
        "path: images\ntrain: train\nval: val",
        "train: ../images/train\nval: ../images/val",
    ],
)
@pytest.mark.parametrize("names", ["names: [person, no]", "names:\n  1: no\n  0: person"])
def test_folders_are_read(tree: Path, text: str, names: str) -> None:
    describe(tree, text.replace("{root}", str(tree)), names)
    assert found(tree) == ALL
    assert found(tree / "data.yaml") == ALL


def test_lists_are_read(tree: Path) -> None:
    (tree / "train.txt").write_text(f"./images/train/1.png\r\n\r\n{tree}/images/train/yard/2.png\r\n")
    describe(tree, "train: train.txt\nval: images/val")
    assert found(tree) == [("train/1", None, "train"), ("train/yard/2", None, "train"), ALL[2]]


def test_a_split_of_several_folders(tree: Path) -> None:
    describe(tree, "train:\n- images/train/yard\n- images/val")
    assert found(tree) == [("2", None, "train"), ("3", None, "train")]


def test_a_missing_label_is_a_background(tree: Path) -> None:
    picture(tree, "train/0", None)
    picture(tree, "train/00", "")
    imported = yolo.read(tree)
    assert imported.problems == []
    assert [len(pair.changes) for pair in imported.pairs] == [0, 0, 2, 2, 2]
    assert imported.notes == ["1 pictures have no label file: nothing moved in them"]


def test_rows_of_other_tasks_are_told(tree: Path) -> None:
    label = picture(
        tree, "train/1", f"# moved\n0 0.1 0.1 0.2 0.1 0.2 0.2\n{ROWS}7 0.5 0.5 0.1 0.1\n0 0 0 9e-7 0.1\n"
    )
    imported = yolo.read(tree)
    assert [str(problem) for problem in imported.problems[:2]] == [
        f"{label}:2: 7 fields, 5 expected: class cx cy w h",
        f"{label}:5: class 7 is unknown, allowed: 0 person, 1 no",
    ]
    assert str(imported.problems[2]).startswith(f"{label}:6: box ")
    assert len(imported.pairs[0].changes) == 2


def test_pictures_in_two_splits_are_told(tree: Path) -> None:
    (tree / "val.txt").write_text("./images/val/3.png\n./images/train/1.png\n./images/none.png\n")
    describe(tree, "train: images/train\nval: val.txt\ntest: images/val")
    imported = yolo.read(tree)
    assert [str(problem) for problem in imported.problems] == [
        f"{tree}/val.txt:2: {tree}/images/train/1.png is in train already",
        f"{tree}/val.txt:3: {tree}/images/none.png: no such file",
        f"{tree}/images/val/3.png: {tree}/images/val/3.png is in val already",
    ]


def test_what_is_missing_or_broken_is_told(tree: Path) -> None:
    (tree / "images/val/3.png").unlink()
    (tree / "labels/classes.txt").write_text("person")
    (tree / "images/train/1.png").write_bytes(b"no picture")
    path = describe(tree, "train: images/train\nval: images/val\ntest: images/test")
    problems = [str(problem) for problem in yolo.read(tree).problems]
    assert problems[0].startswith(f"{tree}/images/train/1.png: unreadable image")
    assert problems[1:] == [
        f"{path}:3: test: no folder or file {tree}/images/test",
        f"{tree}/labels/val/3.txt: its picture is missing",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: a\nnames: [b, b]", ":2: 'b' is no class name, or is there twice"),
        ("train: a\nnames: [b, '']", ":2: '' is no class name, or is there twice"),
        ("train: a\nnames: [b, [c]]", ":2: a class name expected"),
        ("train: a\nnames: []", ":2: names is empty"),
        ("train: a\nnames: {1: a, 2: b}", ":2: names must be numbered 0, 1, ..., got ['1', '2']"),
        ("train: a\nnames: {0: a, 0: b}", ":2: '0' is no key, or is there twice"),
        ("train: a\ntrain: b\nnames: [a]", ":2: 'train' is no key, or is there twice"),
        ("train: a", ": no names"),
        ("train: a\nnames: b", ":2: names must be a list or a map, got 'b'"),
        ("names: [a]", ": no pictures: give train, val, validation, test"),
        ("path: none\ntrain: a\nnames: [a]", ":1: path: no folder {root}/none"),
        ("path: [a]\ntrain: a\nnames: [a]", ":1: path: one folder expected, got a list"),
        ("train: {a: b}\nnames: [a]", ":1: text expected"),
        ("names: [a\ntrain: b", ":2: not readable as YAML: expected ',' or ']', but got ':'"),
        ("a\n", ":1: not a map with names, train and val"),
        ("", ": not a map with names, train and val"),
        ("[" * 999, ": not readable as YAML: maximum recursion depth exceeded"),
        ("a\0b", ": not readable as YAML: unacceptable character"),
        ("\n\udcff", ":2: not UTF-8 text"),
    ],
)
def test_a_wrong_description_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "data.yaml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError) as error:
        yolo.read(tmp_path)
    assert str(error.value).startswith(f"{path}{message.replace('{root}', str(tmp_path))}")


def test_a_folder_without_a_description_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.yaml: cannot be read: No such file"):
        yolo.read(tmp_path)


@given(parts=st.lists(st.sampled_from(["images", "labels", "a", "my images"]), max_size=5))
def test_labels_lie_where_ultralytics_looks(parts: list[str]) -> None:
    path = "/".join(["", *parts, "1.tar.png"])
    sa, sb = "/images/", "/labels/"
    expected = sb.join(path.rsplit(sa, 1)).rsplit(".", 1)[0] + ".txt"
    assert str(yolo.label_of(Path(path))) == expected


def test_damaged_labels_are_read_or_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    clean = 0
    for seed in range(4000):
        content = mutate(ROWS.encode(), seed)
        path.write_bytes(content)
        problems: list = []
        changes = yolo._changes(path, ["a", "b"], (64, 48), problems)
        assert all(p.path == path and p.line and p.message for p in problems)
        rows = [row for row in lines_of(content) or [""] if row.split("#")[0].strip()]
        if lines_of(content) is None:
            assert (len(problems), changes) == (1, [])
            continue
        assert len(problems) + len(changes) == len(rows)
        told = {problem.line for problem in problems}
        lines = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").split("\n")
        good = [line.split("#")[0].split() for number, line in enumerate(lines, 1) if number not in told]
        for change, row in zip(changes, filter(None, good), strict=True):
            x0, y0, x1, y1 = change.after or (0, 0, 0, 0)
            box = [change.label, (x0 + x1) / 128, (y0 + y1) / 96, (x1 - x0) / 64, (y1 - y0) / 48]
            assert all(abs(a - float(b)) < 1e-6 for a, b in zip(box, row, strict=True))
        clean += not problems
    assert 400 < clean < 3600


def test_damaged_descriptions_are_read_or_refused(tree: Path) -> None:
    path = describe(tree, "path: .\ntrain: images/train\nval: [images/val]", "names:\n  0: person\n  1: no")
    content = path.read_bytes()
    read = 0
    for seed in range(600):
        path.write_bytes(mutate(content, seed))
        told = ""
        try:
            description = read_data_yaml(path)
        except UserError as error:
            told = str(error)
        assert told.startswith(f"{path}:") or (description.names and all(e.line for e in description.entries))
        read += not told
    assert 50 < read < 550
