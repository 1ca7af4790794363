import csv
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from detr_diff.choices import Places
from detr_diff.data.formats import mot
from detr_diff.data.formats.imported import Change, Imported, iou, labels_of
from detr_diff.data.formats.mot import Pairing, split_by_time
from detr_diff.data.formats.tracks import read_tracks
from detr_diff.errors import SettingError
from tests.conftest import ROOT
from tests.data.formats.mutation import damage, lines_of
from tests.data.formats.pictures import save

PETS = ROOT.parent / "shared/data/pets2009_s2l1"
SIZE = (64, 48)


def pairing(
    distances: Sequence[int] = (1,), stride: int = 1, val: float = 0.0, test: float = 0.0, gap: int = 0
) -> Pairing:
    return Pairing(distances, stride, val, test, gap)


def frames(folder: Path, numbers: Sequence[int]) -> None:
    for number in numbers:
        save(folder / f"{number:06d}.png", np.full((48, 64, 3), number % 250, np.uint8))


def sequence(root: Path, rows: str, numbers: Sequence[int] = (1, 2, 3, 4)) -> Path:
    """A MOTChallenge folder; returns its gt.txt."""
    frames(root / "img1", numbers)
    (root / "gt").mkdir(parents=True)
    (root / "gt/gt.txt").write_text(rows)
    return root / "gt/gt.txt"


def read(
    src: Path,
    how: Pairing,
    *,
    names: Sequence[str] = ("person",),
    frames: str | None = None,
    min_visible: float = 0.0,
    moved_iou: float = 0.0,
    extracted: Path | None = None,
) -> Imported:
    return mot.read(src, frames, names, how, min_visible, moved_iou, extracted)


def reported(found: Imported) -> list[str]:
    return [str(problem) for problem in found.problems]


def test_a_sequence_becomes_pairs(tmp_path: Path) -> None:
    rows = "1,7,0,0,10,10,1,1,1\n2,7,5,0,10,10,1,1,1\n4,7,30,0,10,10,1,1,0.5\n"  # walks on
    rows += "1,8,40,20,8,8,1,1,1\n2,8,40,20,8,8,1,1,1\n"  # stands and leaves
    rows += "4,9,20,30,8,8,1,1,1\n"  # comes
    sequence(tmp_path / "yard", rows)
    found = read(tmp_path / "yard", pairing([1, 3]))
    assert (found.problems, found.notes, found.names) == ([], [], ["person"])
    assert [(p.name, p.scene, p.split, p.stayed) for p in found.pairs] == [
        ("000001_000002", "yard", "train", 2),  # its two boxes overlap: not moved
        ("000001_000004", "yard", "train", 0),
        ("000002_000003", "yard", "train", 0),  # nobody is in frame 3
        ("000003_000004", "yard", "train", 0),
    ]
    first, far, gone, come = (pair.changes for pair in found.pairs)
    stand = (40.0, 20.0, 48.0, 28.0)
    assert first == []
    assert far == [
        Change(0, (0.0, 0.0, 10.0, 10.0), (30.0, 0.0, 40.0, 10.0)),
        Change(0, stand, None),
        Change(0, None, (20.0, 30.0, 28.0, 38.0)),
    ]
    assert gone == [Change(0, (5.0, 0.0, 15.0, 10.0), None), Change(0, stand, None)]
    assert [change.before for change in come] == [None, None]
    assert found.pairs[1].before == tmp_path / "yard/img1/000001.png"
    # The IoU of 7's boxes in frames 1 and 2 is 1/3.
    assert len(read(tmp_path / "yard", pairing(), moved_iou=0.34).pairs[0].changes) == 1


def test_what_does_not_count_is_counted(tmp_path: Path) -> None:
    rows = "1,1,0,0,9,9,0,1,1\n1,2,10,0,9,9,1,1,0.2\n1,3,20,0,9,9,1,8,1\n"
    rows += "1,4,30,0,9,9,1,2,1\n2,4,50,0,9,9,1,2,1\n"
    path = sequence(tmp_path, rows, (1, 2))
    found = read(tmp_path, pairing(), names=["person", "car"], min_visible=0.3)
    assert found.pairs[0].changes == [Change(1, (30.0, 0.0, 39.0, 9.0), (50.0, 0.0, 59.0, 9.0))]
    assert found.problems == []
    assert found.notes == [
        f"{path}: 1 rows to be ignored (conf 0): left out",
        f"{path}: 1 rows less visible than mot.min_visible=0.3: left out",
        f"{path}: 1 rows of class 8, which mot.names does not name, the first being 1: left out",
    ]


def test_tracks_without_a_row_that_counts_are_a_problem(tmp_path: Path) -> None:
    """Class ids from 1, where a csv has them from 0, made a set without a box."""
    table(tmp_path, "frame,id,x,y,w,h,class\n1,1,0,0,9,9,5\n2,1,9,9,9,9,5\n")
    found = read(tmp_path, pairing())
    why = "of class 5, which mot.names does not name, the first being 0"
    assert reported(found)[-1] == f"{tmp_path}/tracks.csv: no row counts: {why}"
    assert f"{tmp_path}/tracks.csv: the first frame has number 0, the first tracked one 1" in found.notes


def test_a_share_without_a_pair_is_told(tmp_path: Path) -> None:
    rows = "".join(f"{n},1,{9 * n},0,9,9,1,1,1\n" for n in range(1, 11))
    sequence(tmp_path, rows, range(1, 11))
    found = read(tmp_path, Pairing([3], 1, 0.2, 0.0, 0))
    assert {pair.split for pair in found.pairs} == {"train"}
    assert found.notes[-1].startswith(
        "mot.val=0.2: no pair is in val, whose frames are fewer than a distance"
    )


def test_several_sequences_are_scenes(tmp_path: Path) -> None:
    for name in ("MOT17-02", "MOT17-04"):
        sequence(tmp_path / name, "1,1,0,0,9,9,1,1,1\n2,1,20,0,9,9,1,1,1\n", (1, 2))
    found = read(tmp_path, pairing())
    assert [(p.name, p.scene) for p in found.pairs] == [
        ("MOT17-02/000001_000002", "MOT17-02"),
        ("MOT17-04/000001_000002", "MOT17-04"),
    ]
    with pytest.raises(SettingError, match="mot.frames=img1: there are 2 track files"):
        read(tmp_path, pairing(), frames="img1")


def test_seqinfo_tells_length_and_folder(tmp_path: Path) -> None:
    sequence(tmp_path, "2,1,0,0,9,9,1,1,1\n", (1, 2, 3, 4, 5))
    assert len(read(tmp_path, pairing()).pairs) == 0
    (tmp_path / "seqinfo.ini").write_text("[Sequence]\nname=a\nimDir=pictures\nseqLength=4\n")
    (tmp_path / "img1").rename(tmp_path / "pictures")
    assert [p.name for p in read(tmp_path, pairing()).pairs] == [f"00000{n}_00000{n + 1}" for n in (1, 2, 3)]
    (tmp_path / "pictures").rename(tmp_path / "img1")
    for text, message in (
        ("[Sequence]\nseqLength=many\n", "seqLength 'many' is not a whole number from 1"),
        ("seqLength=4\n", "not readable: File contains no section headers."),
        ("[Video]\n", "no section [Sequence]"),
    ):
        (tmp_path / "seqinfo.ini").write_text(text)
        assert reported(read(tmp_path, pairing())) == [f"{tmp_path}/seqinfo.ini: {message}"]


GOOD = "1,1,0,0,9,9,1,1,1\n2,1,20,0,9,9,1,1,1\n"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("3,1,0,0,9,9,1,1", "8 fields, 9 expected: frame,id,x,y,w,h,conf,class,visibility"),
        ("x,1,0,0,9,9,1,1,1", "frame 'x' is not a whole number"),
        ("0,1,0,0,9,9,1,1,1", "frame 0, but the first one has number 1"),
        ("3,1.5,0,0,9,9,1,1,1", "id '1.5' is not a whole number"),
        ("3,1,0,nan,9,9,1,1,1", "y 'nan' is not a finite number"),
        ("3,1,0,0,9,9,inf,1,1", "conf 'inf' is not a finite number"),
        ("3,1,0,0,0,9,1,1,1", "w 0 and h 9 must be greater than 0"),
        ("3,1,0,0,9,9,1,0,1", "class '0' is not a whole number from 1"),
        ("3,1,0,0,9,9,1,1,1.5", "visibility 1.5 is outside [0, 1]"),
        ("3,1,64,0,9,9,1,1,1", "box 64 0 73 9 (x0 y0 x1 y1) lies outside the picture of 64x48 pixels"),
        ("2,1,0,0,9,9,1,1,1", "object 1 is in frame 2 already, in line 2"),
        ("3,1,0,0,9,9,1,2,1", "object 1 is a car, but a person in line 1"),
        (
            "9,1,0,0,9,9,1,1,1",
            "frame 9 has no picture, the first one being 1; the rows about it are left out",
        ),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    path = sequence(tmp_path, f"{GOOD}\r\n{row}\r\n")
    found = read(tmp_path, pairing(), names=["person", "car"])
    assert reported(found) == [f"{path}:4: {message}"]
    assert found.pairs[0].changes == [Change(0, (0.0, 0.0, 9.0, 9.0), (20.0, 0.0, 29.0, 9.0))]


def test_broken_frames_are_named(tmp_path: Path) -> None:
    sequence(tmp_path, GOOD + "3,1,0,0,9,9,1,1,1\n4,1,0,0,9,9,1,1,1\n")
    save(tmp_path / "img1/frame_1.png", np.zeros((48, 64, 3), np.uint8))
    save(tmp_path / "img1/ground.png", np.zeros((48, 64, 3), np.uint8))
    save(tmp_path / "img1/000003.png", np.zeros((48, 65, 3), np.uint8))
    (tmp_path / "img1/000004.png").write_bytes(b"no picture")
    found = read(tmp_path, pairing())
    assert [p.name for p in found.pairs] == ["000001_000002"]
    problems = sorted(reported(found))
    assert problems[0] == f"{tmp_path}/img1/000003.png: 65x48 pixels, but the first frame has 64x48"
    assert problems[1].startswith(f"{tmp_path}/img1/000004.png: unreadable image")
    assert problems[2] == f"{tmp_path}/img1/frame_1.png: a second frame 1, beside 000001.png"
    assert found.notes == ["pictures without a number in their name, not used: 1"]


def table(root: Path, text: str) -> Path:
    frames(root / "frames", range(0, 12))
    (root / "tracks.csv").write_text(text)
    return root


def test_a_header_names_the_columns(tmp_path: Path) -> None:
    table(
        tmp_path,
        "\ufeffclass,H,w,yc,xc,id,frame,note\r\ncar,4,6,10,20,1,0,a\r\n0,8,8,20,20,2,0,b\r\n1,4,6,10,40,1,3,\r\n",
    )
    found = read(tmp_path, pairing([3]), names=["person", "car"])
    assert found.problems == []
    assert found.notes == [f"{tmp_path}/tracks.csv: annotated frames are 3 apart; only those are used"]
    assert [p.name for p in found.pairs] == ["000000_000003"]
    assert found.pairs[0].changes == [
        Change(1, (17.0, 8.0, 23.0, 12.0), (37.0, 8.0, 43.0, 12.0)),
        Change(0, (16.0, 16.0, 24.0, 24.0), None),
    ]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("frame,id,xc,y,w,h", "the header has no column xc, yc or x, y"),
        ("frame,xc,yc,w", "the header has no column id, h"),
        ("frame,id,x,y,w,h,W", "the header names a column twice"),
        ("0,1,2,3,4,5", "the header has no column frame, id, w, h, xc, yc or x, y"),
    ],
)
def test_a_header_without_the_columns_is_named(tmp_path: Path, header: str, message: str) -> None:
    table(tmp_path, f"{header}\n0,1,2,3,4,5\n")
    found = read(tmp_path, pairing())
    assert reported(found) == [f"{tmp_path}/tracks.csv:1: {message}"]
    assert found.pairs == []


def test_frames_of_a_video_are_extracted(tmp_path: Path) -> None:
    video = cv2.VideoWriter(str(tmp_path / "yard.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, SIZE)
    for grey in range(0, 120, 20):
        video.write(np.full((48, 64, 3), grey, np.uint8))
    video.release()
    (tmp_path / "tracks.csv").write_text("frame,id,x,y,w,h\n1,1,0,0,9,9\n4,1,30,0,9,9\n")
    (tmp_path / "gt.txt").write_text("2,1,0,0,9,9\n5,1,30,0,9,9\n8,1,30,0,9,9\n")
    by_csv = read(tmp_path / "tracks.csv", pairing([3]), frames="yard.avi", extracted=tmp_path / "a")
    by_mot = read(
        tmp_path / "gt.txt", pairing([3]), frames=str(tmp_path / "yard.avi"), extracted=tmp_path / "b"
    )
    assert by_csv.problems == []
    assert reported(by_mot) == [
        f"{tmp_path}/gt.txt:3: frame 8 has no picture, the first one being 1; the rows about it are left out"
    ]
    for found, folder in ((by_csv, "a"), (by_mot, "b")):
        assert len(found.pairs) == 1
        # Frames are numbered from 0 in a csv and from 1 in MOTChallenge: the same pictures.
        greys = [cv2.imread(str(p)).mean() for p in (found.pairs[0].before, found.pairs[0].after)]
        np.testing.assert_allclose(greys, [20, 80], atol=3)
        assert len(list((tmp_path / folder).iterdir())) == 2
    with pytest.raises(SettingError, match="pictures=refer: the frames of the video .* must be copied"):
        read(tmp_path / "tracks.csv", pairing(), frames="yard.avi")
    (tmp_path / "cut.avi").write_bytes(b"no video")
    with pytest.raises(SettingError, match="neither a folder nor a readable video"):
        read(tmp_path / "tracks.csv", pairing(), frames="cut.avi", extracted=tmp_path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        ([], r"neither gt/gt\.txt, gt\.txt, tracks\.csv nor \*/gt/gt\.txt in it"),
        (["gt.txt"], "mot.frames=null: neither img1/ nor frames/ in"),
        (["gt.txt", "frames/a.txt"], "no readable picture with a number in its name"),
    ],
)
def test_missing_material_is_named(tmp_path: Path, make: list[str], message: str) -> None:
    for name in make:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    with pytest.raises(SettingError, match=message):
        read(tmp_path, pairing())
    (tmp_path / "gt.txt").write_text("")
    with pytest.raises(SettingError, match="mot.frames=there: no such folder or video"):
        read(tmp_path, pairing(), frames="there")


@given(
    numbers=st.lists(st.integers(0, 300), min_size=1, max_size=60, unique=True).map(sorted),
    val=st.floats(0, 0.5),
    test=st.floats(0, 0.49),
    gap=st.integers(0, 20),
)
def test_splits_follow_each_other_in_time(numbers: list[int], val: float, test: float, gap: int) -> None:
    part = split_by_time(numbers, pairing(val=val, test=test, gap=gap))
    assert list(part) == numbers
    named = [(number, split) for number, split in part.items() if split]
    order = ["train", "val", "test"]
    assert [order.index(split) for _, split in named] == sorted(order.index(split) for _, split in named)
    for (one, a), (other, b) in pairwise(named):
        if a != b:
            assert other - one > 2 * gap
    if gap == 0:
        counts = [sum(split == name for split in part.values()) for name in order]
        assert counts[2] == round(len(numbers) * test)
        assert counts[1] == round(len(numbers) * val)


def test_pairs_do_not_reach_over_a_cut(tmp_path: Path) -> None:
    rows = "".join(f"{frame},1,{frame % 50},0,9,9\n" for frame in range(1, 101))
    path = sequence(tmp_path, rows, range(1, 101))
    found = read(tmp_path, pairing([2, 5], stride=2, val=0.2, test=0.1, gap=3))
    spans: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for pair in found.pairs:
        before, after = map(int, pair.name.split("_"))
        assert after - before in (2, 5)
        assert before % 2 == 1
        spans[str(pair.split)] += [before, after]
    # The first frames of validation and test are 71 and 91.
    assert [(min(span), max(span)) for span in spans.values()] == [(1, 67), (75, 87), (95, 100)]
    begun = sum(before + distance <= 100 for distance in (2, 5) for before in range(1, 101, 2))
    assert found.notes == [
        f"{path}: {begun - len(found.pairs)} pairs reach over a cut in time or into its gap: left out"
    ]


def test_tracks_with_any_damage_are_read_or_reported(tmp_path: Path) -> None:
    header = b"frame,id,xc,yc,w,h,visible_fraction\n"
    rows = b"0,1,10,10,5,5,1\n0,2,20,30,5.5,5,0.5\n3,1,15,10,5,5,1.0\n3,2,20,30,5,5,1\n"
    mot_rows = b"1,1,0,0,9,9,1,1,1\n2,1,20,0,9,9,1,1,1\n2,3,20,9,9.5,9,0,1,0.25\n3,1,7,7,7,7,1,1,1\n"
    for seed in range(4000):
        path = tmp_path / ("a.csv" if seed % 2 else "a.txt")
        content = damage(path, header + rows if seed % 2 else mot_rows, seed)
        tracks = read_tracks(path, ["person"], 0.0, SIZE)
        assert all(problem.path == path and problem.line for problem in tracks.problems)
        lines = lines_of(content)
        boxes = [box for objects in tracks.frames.values() for box in objects.values()]
        if lines is None:
            assert (len(boxes), len(tracks.problems)) == (0, 1), seed
            continue
        told = len(boxes) + sum(tracks.uncounted.values()) + len(tracks.problems)
        header_read = seed % 2 and len(lines) > 0
        whole_file = any("header" in p.message or "10 expected" in p.message for p in tracks.problems)
        assert whole_file or told + bool(header_read) == len(lines), seed


def test_a_sequence_with_any_damage_is_read_or_reported(tmp_path: Path) -> None:
    info = tmp_path / "seqinfo.ini"
    rows = GOOD.encode() + b"3,1,40,0,9,9,1,1,1\n4,2,5,30,9,9,1,1,1\n"
    path = sequence(tmp_path, "")
    for seed in range(600):
        damage(path, rows, seed)
        damage(info, b"[Sequence]\nname=yard\nframeRate=14\nseqLength=4\n", seed % 20)
        found = read(tmp_path, pairing([1, 2]))
        assert all(problem.path in (path, info) for problem in found.problems), seed
        assert len(found.pairs) <= 5


@pytest.mark.skipif(not PETS.is_dir(), reason="the real data is not on this machine")
@pytest.mark.parametrize(("places", "folder"), [(Places.after, "labels"), (Places.changed, "labels_changed")])
def test_pets_labels_come_out_of_its_tracks(places: Places, folder: str) -> None:
    found = read(PETS, pairing([30, 60, 90, 120, 150]))
    assert found.problems == []
    with (PETS / "pairs.csv").open() as file:
        assert {pair.name for pair in found.pairs} == {row["pair"] for row in csv.DictReader(file)}
    for pair in found.pairs:
        rows = [line.split() for line in (PETS / folder / f"{pair.name}.txt").read_text().splitlines()]
        expected = np.array([row[1:] for row in rows], float).reshape(-1, 4) * [480, 360, 480, 360]
        boxes = np.array([box for change in pair.changes for box in labels_of(change, places)]).reshape(-1, 4)
        assert len(boxes) == len(expected), pair.name
        given = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)
        distance = np.abs(given[:, None] - expected[None]).max(axis=-1)
        # Their six digits are a thousandth of a pixel.
        assert distance[linear_sum_assignment(distance)].max(initial=0) < 1e-3, pair.name


@given(st.tuples(*[st.integers(0, 20)] * 2), st.tuples(*[st.integers(0, 20)] * 2))
def test_iou_is_the_share_of_common_pixels(a: tuple[int, int], b: tuple[int, int]) -> None:
    grids = []
    for x, y in (a, b):
        grid = np.zeros((40, 40), bool)
        grid[y : y + 7, x : x + 11] = True
        grids.append(grid)
    boxes = [(float(x), float(y), x + 11.0, y + 7.0) for x, y in (a, b)]
    assert iou(*boxes) == pytest.approx((grids[0] & grids[1]).sum() / (grids[0] | grids[1]).sum())
