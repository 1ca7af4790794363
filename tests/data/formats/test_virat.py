from pathlib import Path

import numpy as np
import pytest

from detr_diff.choices import Places
from detr_diff.data.formats import virat
from detr_diff.data.formats.imported import Change, Imported
from detr_diff.data.formats.virat_annotation import NAMES, read_annotation
from detr_diff.data.formats.virat_match import read_matches
from detr_diff.errors import SettingError
from tests.data.formats.mutation import damage, lines_of
from tests.data.formats.pictures import save
from tests.data.formats.virat_tree import Truth, generate

RECORDINGS = ["S_000001", "S_000102", "S_010203", "S_040100"]
SIZE = (64, 48)
TYPES = "allowed: 0 unknown, 1 person, 2 car, 3 other_vehicle, 4 other_object, 5 bike"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Truth]]:
    root = tmp_path_factory.mktemp("virat")
    return root, generate(root, 104, RECORDINGS)


def corners(box: tuple[int, ...]) -> tuple[float, ...]:
    x, y, w, h = map(float, box)
    return x, y, x + w, y + h


def test_all_that_moved_and_nothing_that_stayed(tree: tuple[Path, list[Truth]]) -> None:
    root, truths = tree
    found = virat.read(root, 0.0)
    assert found.problems == []
    assert (found.names, found.places) == (list(NAMES), Places.changed)
    assert len(found.pairs) == len(truths) == 104
    assert sum(len(truth.moved) for truth in truths) > 300
    assert sum(truth.stayed for truth in truths) > 400
    taken_for_moved = 0
    for pair, truth in zip(found.pairs, truths, strict=True):
        moved = {(kind, corners(old), corners(new)) for kind, old, new in truth.moved}
        given = {(c.label, c.before, c.after) for c in pair.changes if c.before and c.after}
        assert moved <= given, pair.name
        assert pair.stayed == truth.stayed, pair.name
        # Every place that changed and no other, with both kinds that have one place only.
        old = {corners(box) for _, box, _ in truth.moved} | {corners(box) for _, box in truth.left}
        new = {corners(box) for _, _, box in truth.moved} | {corners(box) for _, box in truth.appeared}
        assert {c.before for c in pair.changes if c.before} == old
        assert {c.after for c in pair.changes if c.after} == new
        taken_for_moved += len(given - moved)
    # Of what left and what appeared, the odd two look like one object that moved.
    assert taken_for_moved <= 5


def test_pairs_are_named_after_their_frames_and_scenes_after_their_camera(tmp_path: Path) -> None:
    generate(tmp_path / "four", 4, RECORDINGS)
    found = virat.read(tmp_path / "four/index.txt", 0.0)
    assert found.pairs[0].name == "Pair_S_000001_3_63-S_000001_frame_3-S_000001_frame_63"
    cameras = [pair.scene for pair in found.pairs]
    assert cameras == ["VIRAT_S_0000", "VIRAT_S_0001", "VIRAT_S_0102", "VIRAT_S_0401"]
    # Two cameras cannot be divided into training, validation and test; recordings can.
    generate(tmp_path / "two", 3, ["S_000001", "S_000002", "S_000102"])
    assert [pair.scene for pair in virat.read(tmp_path / "two", 0.0).pairs] == [
        "VIRAT_S_000001",
        "VIRAT_S_000002",
        "VIRAT_S_000102",
    ]


def small(root: Path, before: str = "", after: str = "", folder: str = "yard") -> Path:
    """One pair of small frames; returns its index.txt."""
    ground = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    for number, text in (("1", before), ("2", after)):
        save(root / f"{folder}/{number}.png", ground)
        (root / f"{folder}/{number}.txt").write_text(text)
    index = root / "index.txt"
    index.write_text(f"{folder}/1.png,{folder}/1.txt,{folder}/2.png,{folder}/2.txt\n")
    return index


def reported(found: Imported) -> list[str]:
    return [str(problem) for problem in found.problems]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1 9 3 10 10 5 5", "7 fields, 8 expected: object_id duration frame x y w h type"),
        ("1 9 3 10 10 5 5 1 1", "9 fields, 8 expected: object_id duration frame x y w h type"),
        ("a 9 3 10 10 5 5 1", "object_id 'a' is not a whole number"),
        ("1 9 3.5 10 10 5 5 1", "frame '3.5' is not a whole number"),
        ("1 9 3 x 10 5 5 1", "x 'x' is not a finite number"),
        ("1 9 3 10 nan 5 5 1", "y 'nan' is not a finite number"),
        ("1 9 3 10 10 inf 5 1", "w 'inf' is not a finite number"),
        ("1 9 3 10 10 -5 5 1", "w -5 and h 5 must be greater than 0"),
        ("1 9 3 10 10 5 0 1", "w 5 and h 0 must be greater than 0"),
        ("1 9 3 10 10 5 5 6", f"type '6' is unknown, {TYPES}"),
        ("1 9 3 10 10 5 5 1.0", f"type '1.0' is unknown, {TYPES}"),
        ("1 9 3 64 10 5 5 1", "box 64 10 69 15 (x0 y0 x1 y1) lies outside the picture of 64x48 pixels"),
        ("7 1 1 1 2 5 5.0 1", "the same object as line 2"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    after = f"\ufeff\r\n1 9 3 1 2 5 5 1\r\n{row}\r\n\r\n2 9 3 -3 40 5 20 2\r\n"
    index = small(tmp_path, "", after)
    found = virat.read(index, 0.0)
    assert reported(found) == [f"{tmp_path}/yard/2.txt:3: {message}"]
    assert found.pairs[0].changes == [
        Change(1, None, (1.0, 2.0, 6.0, 7.0)),
        Change(2, None, (-3.0, 40.0, 2.0, 60.0)),
    ]


def test_a_broken_pair_is_named(tmp_path: Path) -> None:
    index = small(tmp_path)
    good = index.read_text().strip()
    (tmp_path / "yard/cut.png").write_bytes((tmp_path / "yard/1.png").read_bytes()[:300])
    save(tmp_path / "yard/wide.png", np.zeros((48, 65, 3), np.uint8))
    save(tmp_path / "yard/3.png", np.zeros((48, 64, 3), np.uint8))
    (tmp_path / "yard/latin.txt").write_bytes(b"1 9 3 1 2 5 5 1\n\xe9")
    lines = [
        good,
        "",
        "yard/1.png,yard/1.txt,yard/2.png",
        "yard/1.png,yard/1.txt,,yard/2.txt",
        "yard/0.png,yard/1.txt,yard/2.png,yard/2.txt",
        "yard/2.png,yard/0.txt,yard/3.png,yard/1.txt",
        "yard/1.png,yard/1.txt,yard/1.png,yard/2.txt",
        good.replace("yard/1.png", "yard/../yard/1.png"),
        "yard/1.png,yard/1.txt,yard/wide.png,yard/2.txt",
        "yard/2.png,yard/latin.txt,yard/1.png,yard/1.txt",
        "yard/cut.png,yard/1.txt,yard/2.png,yard/2.txt",
        "a\0b,yard/1.txt,yard/2.png,yard/2.txt",
        f"{'x' * 999},yard/1.txt,yard/2.png,yard/2.txt",
    ]
    index.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    found = virat.read(tmp_path, 0.0)
    assert [pair.name for pair in found.pairs] == ["yard-1-2"]
    four = "4 paths expected: image1,annotation1,image2,annotation2"
    assert reported(found)[:7] == [
        f"{index}:3: 3 paths, {four}",
        f"{index}:4: 3 paths, {four}",
        f"{index}:7: both frames are yard/1.png",
        f"{index}:8: the same frames as line 1",
        f"{index}:5: {tmp_path}/yard/0.png: no such file",
        f"{index}:6: {tmp_path}/yard/0.txt: no such file",
        f"{index}:9: {tmp_path}/yard/wide.png: 65x48 pixels, but its before frame has 64x48",
    ]
    assert reported(found)[7] == f"{tmp_path}/yard/latin.txt:2: not UTF-8 text"
    assert reported(found)[8].startswith(f"{index}:11: {tmp_path}/yard/cut.png: unreadable image")
    assert [problem.line for problem in found.problems[9:]] == [12, 13]


def test_an_object_that_stayed_is_not_taken_by_one_like_it(tmp_path: Path) -> None:
    # Three places in a row: the middle one is taken in both frames, by objects that look the same.
    index = small(tmp_path, "1 9 3 5 20 6 6 2\n2 9 3 25 20 6 6 2\n", "1 9 4 25 20 6 6 2\n2 9 4 45 20 6 6 2\n")
    for number, places in (("1", (5, 25)), ("2", (25, 45))):
        picture = np.full((48, 64, 3), 90, np.uint8)
        for x in places:
            picture[20:26, x : x + 6] = (200, 30, 30)
        save(tmp_path / f"yard/{number}.png", picture)
    pair = virat.read(index, 0.0).pairs[0]
    assert pair.changes == [Change(2, (5.0, 20.0, 11.0, 26.0), (45.0, 20.0, 51.0, 26.0))]
    assert pair.stayed == 1


def test_moved_iou_decides_what_moved(tmp_path: Path) -> None:
    index = small(tmp_path, "1 9 3 10 20 10 10 2\n", "1 9 4 15 20 10 10 2\n")
    for number, x in (("1", 10), ("2", 15)):
        picture = np.full((48, 64, 3), 90, np.uint8)
        picture[20:30, x : x + 10] = (200, 30, 30)
        save(tmp_path / f"yard/{number}.png", picture)
    for moved_iou, moved in ((0.0, 0), (0.3, 0), (0.34, 1)):  # the IoU is 1/3
        pair = virat.read(index, moved_iou).pairs[0]
        assert (len(pair.changes), pair.stayed) == (moved, 1 - moved)


def matched(root: Path, name: str, text: str) -> Path:
    path = root / "matched_annotations" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


MATCHES = "4 1 2 5 5 3\n4 11 2 5 5 3\n5 30 30 9 9 2\n5 31 30 9 9 2\n"
BROKEN_MATCHES = (
    "4 1 2 5 5 3\n5 1 2 5 5 3\n5 11 2 5 5 1\n6 1 2 5 5 3\n6 11 2 5 3\n7 1 2 5 5 3\n7 12 2 5 5 3\n"
)


def test_a_ready_made_match_is_used(tmp_path: Path) -> None:
    index = small(tmp_path, "1 9 3 30 30 5 5 1\n", folder="Pair-yard")
    path = matched(
        tmp_path, "Pair-yard-1-2_match.txt", "4 1 2 5 5 3\n4 11 2 5 5 3\n5 30 30 9 9 2\n5 31 30 9 9 2\n"
    )
    moved = [Change(3, (1.0, 2.0, 6.0, 7.0), (11.0, 2.0, 16.0, 7.0))]
    with_index = virat.read(index, 0.0)
    index.unlink()
    without = virat.read(tmp_path, 0.0)
    for found in (with_index, without):
        assert found.problems == []
        assert found.places is Places.both
        assert [(p.name, p.changes, p.stayed) for p in found.pairs] == [("Pair-yard-1-2", moved, 1)]
    matched(tmp_path, "Pair-yard-1-3_match.txt", "")
    path.write_text(
        "4 1 2 5 5 3\n5 1 2 5 5 3\n5 11 2 5 5 1\n6 1 2 5 5 3\n6 11 2 5 3\n7 1 2 5 5 3\n7 12 2 5 5 3\n"
    )
    found = virat.read(tmp_path, 0.0)
    assert found.pairs[0].changes == [Change(3, (1.0, 2.0, 6.0, 7.0), (12.0, 2.0, 17.0, 7.0))]
    missing = f"{path.with_name('Pair-yard-1-3_match.txt')}: its frames are missing"
    assert reported(found)[0].startswith(missing)
    assert reported(found)[1:] == [
        f"{path}:1: object 4 has no second row, its new box",
        f"{path}:3: type 1, but its old box in line 2 has type 3",
        f"{path}:4: object 6 has no second row, its new box",
        f"{path}:5: 5 fields, 6 expected: object_id x y w h type",
    ]


def test_frames_of_a_match_are_found_by_number(tmp_path: Path) -> None:
    for name in ("S_000001_frame_3.png", "S_000001_frame_63.png"):
        save(tmp_path / "VIRAT_S_000001" / name, np.zeros((48, 64, 3), np.uint8))
    matched(tmp_path, "VIRAT_S_000001-3-63_match.txt", "")
    found = virat.read(tmp_path, 0.0)
    assert found.problems == []
    assert (found.pairs[0].changes, found.pairs[0].scene) == ([], "VIRAT_S_000001")


def test_a_folder_without_the_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"neither index\.txt nor files \*_match\.txt in it"):
        virat.read(tmp_path, 0.0)


ROWS = (
    b"1 30 5 1.5 2 10 12 1\r\n0 30 5 20 8 11 9 2\n3 3 5 40 30 50 9 0\n4 3 5 33 30 5 9.25 5\n5 1 5 1 4 7 7 4\n"
)


def told_by(line: str) -> tuple[float, ...] | None:
    """What a line says: type and corners."""
    try:
        *_, x, y, w, h, kind = map(float, line.split())
    except ValueError:
        return None
    return kind, x, y, x + w, y + h


def test_annotations_with_any_damage_are_read_or_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for seed in range(5000):
        content = damage(path, ROWS, seed)
        objects, problems = read_annotation(path, SIZE)
        lines = lines_of(content)
        assert all(problem.path == path and problem.line for problem in problems)
        if objects is None or lines is None:
            assert (objects, lines, len(problems)) == (None, None, 1), seed
            continue
        assert len(objects) + len(problems) == len(lines), seed
        told = set(map(told_by, lines))
        assert all((seen.label, *seen.box) in told for seen in objects), seed


def test_matches_with_any_damage_are_read_or_reported(tmp_path: Path) -> None:
    path = tmp_path / "a_match.txt"
    rows = b"1 1 2 10 12 1\n1 30 20 10 12 1\n2 40 8 11 9 2\n2 1 30 11 9 2\n3 5 30 5 9 0\n3 6 30 5 9 0\n"
    for seed in range(3000):
        content = damage(path, rows, seed)
        changes, stayed, problems = read_matches(path, SIZE, 0.0)
        lines = lines_of(content)
        if changes is None or lines is None:
            assert (changes, lines, len(problems)) == (None, None, 1), seed
            continue
        assert all(problem.path == path and problem.line for problem in problems)
        # A wrong second row spoils the first too, and is the one that is reported.
        wrong_types = sum("but its old box" in problem.message for problem in problems)
        assert 2 * (len(changes) + stayed) + len(problems) + wrong_types == len(lines), seed


def test_an_index_with_any_damage_is_read_or_reported(tmp_path: Path) -> None:
    index = small(tmp_path)
    row = index.read_bytes()
    turned = b"yard/2.png,yard/2.txt,yard/1.png,yard/1.txt\n"
    for seed in range(2000):
        content = damage(index, row + turned, seed)
        found = virat.read(index, 0.0)
        lines = lines_of(content)
        assert len(found.pairs) + len(found.problems) == (1 if lines is None else len(lines)), seed
        assert all(problem.line for problem in found.problems)
        assert all(pair.name in ("yard-1-2", "yard-2-1") for pair in found.pairs)
