import os
from pathlib import Path

import pytest

from detr_diff.data.description import read_description
from detr_diff.data.discovery import discover
from detr_diff.errors import SettingError


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_folders_are_searched_recursively(tmp_path: Path) -> None:
    touch(tmp_path, "images/a/1_before.png", "images/a/1_after.JPG", "labels/a/1.txt")
    touch(tmp_path, "images/a/b/2_before.png", "images/a/b/2_after.png", "labels/a/b/2.txt")
    touch(tmp_path, "images/ready.bmp", "labels/ready.txt", "images/notes.md")
    found = discover(tmp_path)
    assert found.problems == []
    assert [(p.name, p.scene, p.before is None) for p in found.pairs] == [
        ("ready", None, True),
        ("a/1", "a", False),
        ("a/b/2", "a/b", False),
    ]
    assert found.pairs[1].after == tmp_path / "images/a/1_after.JPG"
    assert found.pairs[1].label == tmp_path / "labels/a/1.txt"


def test_what_lacks_its_other_half_is_reported(tmp_path: Path) -> None:
    touch(tmp_path, "images/1_before.png", "labels/1.txt")
    touch(tmp_path, "images/2_after.png", "labels/2.txt", "labels/3.txt")
    touch(tmp_path, "images/4_before.png", "images/4_before.jpg", "images/4_after.png", "labels/4.txt")
    found = discover(tmp_path)
    assert [str(problem) for problem in found.problems] == [
        f"{tmp_path}/images/1_before.png: its after frame is missing",
        f"{tmp_path}/images/2_after.png: its before frame is missing",
        f"{tmp_path}/images/4_before.png: a second before frame of pair 4, beside 4_before.jpg",
        f"{tmp_path}/labels/3.txt: its frames are missing",
    ]


def test_a_table_is_read(tmp_path: Path) -> None:
    touch(tmp_path, "f/0.png", "f/1.png", "labels/x.txt", "other/x.txt")
    (tmp_path / "pairs.csv").write_text(
        "\ufeffpair,scene,split,before,after,label,note\n"
        "x,yard,val,f/0.png,f/1.png,labels/x.txt,fine\n"
        "x,yard,val,f/0.png,f/1.png,labels/x.txt,twice\n"
        "y,yard,later,f/0.png,f/1.png,labels/x.txt,\n"
        "z,yard,val,f/0.png,,labels/x.txt,\n",
        encoding="utf-8",
    )
    found = discover(tmp_path, labels="other")
    table = tmp_path / "pairs.csv"
    assert [str(problem) for problem in found.problems] == [
        f"{table}:3: pair 'x' is already in line 2; a column pair can name them",
        f"{table}:4: split 'later' is unknown, allowed: train, val, test",
        f"{table}:5: after is empty",
    ]
    pair = found.pairs[0]
    assert (pair.name, pair.scene, pair.split) == ("x", "yard", "val")
    assert pair.label == tmp_path / "other/x.txt"


@pytest.mark.parametrize("column", ["Before", "before ", "Split", "SCENE"])
def test_a_column_that_is_meant_is_not_left_out(column: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(f"after,label,note,{column}\n1.png,1.txt,,x\n")
    known = column.strip().lower()
    with pytest.raises(SettingError, match=f"pairs.csv:1: column '{column}': '{known}' is what it must be"):
        discover(tmp_path)


def test_that_all_are_diff_images_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "images/1_t0.png", "images/1_t1.png")
    with caplog.at_level("INFO"):
        discover(tmp_path, labelled=False)
    assert "all 2 pictures are taken as ready diff images" in caplog.text


def test_a_scene_is_found_in_the_name(tmp_path: Path) -> None:
    touch(tmp_path, "images/12345678_before.png", "images/12345678_after.png")
    assert discover(tmp_path, scene=r"^(\d{5})").pairs[0].scene == "12345"
    assert discover(tmp_path, scene=r"^(?:cam(\d)|1234)").pairs[0].scene == "1234"
    with pytest.raises(SettingError, match="does not match pair '12345678'"):
        discover(tmp_path, scene="yard")
    with pytest.raises(SettingError, match="not a regular expression"):
        discover(tmp_path, scene="(")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"root": "none"}, "data.root=.*none: no such folder"),
        ({"pairs": "none.csv"}, "data.pairs=none.csv: no such file"),
        ({"labels": "none"}, "data.labels=none: no such folder"),
        ({}, "neither pairs.csv nor images/ in it"),
    ],
)
def test_a_wrong_place_is_named(tmp_path: Path, settings: dict[str, str], message: str) -> None:
    root = tmp_path / settings.pop("root", ".")
    with pytest.raises(SettingError, match=message):
        discover(root, **settings)


@pytest.mark.parametrize("text", ["names: [a, b]", "names:\n  0: a\n  1: b"])
def test_names_are_a_list_or_a_map(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.yaml").write_text(text)
    assert read_description(tmp_path).names == ["a", "b"]


@pytest.mark.parametrize("text", ["names: {1: a, 2: b}", "names: [a, a]", "names: []", "a: [", "5"])
def test_unusable_names_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.yaml").write_text(text)
    with pytest.raises(SettingError, match=r"dataset\.yaml"):
        read_description(tmp_path)


def test_a_table_with_folders_names_pairs_by_their_paths(tmp_path: Path) -> None:
    rows = [f"f/{cam}/0.png,f/{cam}/1.png,labels/{cam}/0.txt" for cam in ("a", "b")]
    touch(tmp_path, *(path for row in rows for path in row.split(",")))
    (tmp_path / "pairs.csv").write_text("before,after,label\n" + "\n".join(rows) + "\n")
    found = discover(tmp_path)
    assert [pair.name for pair in found.pairs] == ["a/0", "b/0"]
    assert not found.problems


def test_a_table_with_another_shape_is_told(tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("before;after;label\nf/0.png;f/1.png;l.txt\n")
    with pytest.raises(SettingError, match=r"no column after, label; found: before;after;label; .* commas"):
        discover(tmp_path)
    table.write_text("before,after,label\nf/0.png,f/1.png,l.txt,more\nf/0.png,f/1.png,l.txt\n")
    found = discover(tmp_path)
    assert [str(problem) for problem in found.problems] == [f"{table}:2: 4 fields, 3 expected"]
    assert len(found.pairs) == 1


def test_frames_taken_for_diff_images_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "images/1_Before.png", "images/1_AFTER.png", "labels/1.txt", "labels/classes.txt")
    assert [pair.name for pair in discover(tmp_path).pairs] == ["1"]
    assert not discover(tmp_path).problems
    assert not caplog.records
    touch(tmp_path, "images/x-before.png", "images/x-after.png")
    discover(tmp_path, labelled=False)
    assert (
        "2 pictures are taken as ready diff images, 1 pairs have two frames: x-after, x-before" in caplog.text
    )


def test_before_and_after_may_come_first(tmp_path: Path) -> None:
    touch(tmp_path, "images/a/before_1.png", "images/a/after_1.png", "labels/a/1.txt", "labels/a/after_1.txt")
    noon = ("images/before_noon_1_before.png", "images/before_noon_1_after.png", "labels/before_noon_1.txt")
    touch(tmp_path, *noon)
    found = discover(tmp_path)
    assert [(pair.name, pair.before and pair.before.name) for pair in found.pairs] == [
        ("before_noon_1", "before_noon_1_before.png"),
        ("a/1", "before_1.png"),
    ]
    said = "is called after one frame; the label file of its pair would be 1.txt"
    assert [str(problem) for problem in found.problems] == [f"{tmp_path}/labels/a/after_1.txt: {said}"]


def test_a_name_that_is_no_text_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "images/1_before.png", "images/1_after.png", "labels/1.txt")
    os.rename(
        os.fsencode(tmp_path / "images/1_after.png"), os.fsencode(tmp_path) + b"/images/k\xe9_after.png"
    )
    with pytest.raises(SettingError, match=r"udce9_after.png': its name is not UTF-8 text; rename it"):
        discover(tmp_path)


@pytest.mark.parametrize("after", [".", "..", "f/", "/"])
def test_a_path_without_a_name_is_no_crash(after: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(f"before,after\nf/0.png,{after}\n")
    assert len(discover(tmp_path, labelled=False).pairs) == 1
