import csv
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from detr_diff.choices import Places
from detr_diff.data.check import check
from detr_diff.data.description import read_description
from detr_diff.data.discovery import discover
from detr_diff.data.formats.virat_annotation import NAMES
from tests.data.formats.pictures import save
from tests.data.formats.virat_tree import HEIGHT, WIDTH, Truth, generate

Boxes = set[tuple[int, ...]]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Truth]]:
    root = tmp_path_factory.mktemp("virat")
    return root, generate(root, 12, ["S_000001", "S_000102", "S_010203"])


def virat(src: Path, out: Path, *words: str) -> list[str]:
    return ["data", "import", "format=virat", f"src={src}", f"out={out}", *words]


def boxes_of(label: Path) -> Boxes:
    """Rows of a label file as class, x, y, w, h in pixels of the generated frames."""
    rows = [list(map(float, line.split()[:5])) for line in label.read_text().splitlines()]
    return {
        (
            int(kind),
            round((cx - w / 2) * WIDTH),
            round((cy - h / 2) * HEIGHT),
            round(w * WIDTH),
            round(h * HEIGHT),
        )
        for kind, cx, cy, w, h in rows
    }


@pytest.mark.parametrize("places", Places)
def test_an_import_is_an_ordinary_data_set(
    tree: tuple[Path, list[Truth]], tmp_path: Path, cli: Callable, places: Places
) -> None:
    src, truths = tree
    out = tmp_path / "out"
    result = cli(*virat(src, out, f"labels={places}"))
    assert (result.code, result.err) == (0, ""), result.err
    assert result.out.endswith(f"12 pairs in {out}\n")
    moved = sum(len(truth.moved) for truth in truths)
    assert f"│ objects that moved    │ {moved} " in result.out
    assert f"│ objects that stayed   │ {sum(truth.stayed for truth in truths)} " in result.out
    assert read_description(out).places is places
    with (out / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["scene"] for row in rows} == {"VIRAT_S_0000", "VIRAT_S_0001", "VIRAT_S_0102"}
    for row, truth in zip(rows, truths, strict=True):
        assert row["before"].startswith(f"images/{truth.folder}/{row['scene'][6:]}")
        assert (out / row["after"]).read_bytes() == (
            src / "data" / row["after"].removeprefix("images/")
        ).read_bytes()
        old = {(kind, *box) for kind, box, _ in truth.moved}
        new = {(kind, *box) for kind, _, box in truth.moved}
        alone = {(kind, *box) for kind, box in truth.left + truth.appeared}
        wanted: Boxes = {
            Places.before: old,
            Places.after: new,
            Places.both: old | new,
            Places.changed: old | new | alone,
        }[places]
        assert boxes_of(out / row["label"]) == wanted, row["pair"]
    assert check(discover(out), NAMES).problems == []


def test_problems_are_refused_or_left_out(tmp_path: Path, cli: Callable) -> None:
    src = tmp_path / "src"
    generate(src, 2, ["S_000001"])
    first = next(src.glob("data/*_3_63/*_3.annotation.txt"))
    first.write_text(first.read_text() + "9 300 3 10 10 nan 5 1\n\n9 300 3 1 1 5 5 9\n")
    index = src / "index.txt"
    index.write_text(index.read_text() + "data/a.png,data/a.txt,data/b.png,data/b.txt\n")
    lines = len(first.read_text().splitlines())
    told = [
        f"{first}:{lines - 2}: w 'nan' is not a finite number",
        f"{first}:{lines}: type '9' is unknown, allowed: 0 unknown, 1 person, 2 car, 3 other_vehicle,"
        " 4 other_object, 5 bike",
        f"{index}:3: {src}/data/a.png: no such file",
    ]
    refused = cli(*virat(src, tmp_path / "out"))
    assert refused.code == 1
    assert refused.out.splitlines() == told
    assert "3 problems; mend them, or leave those rows out with on_error=skip" in refused.err
    assert list(tmp_path.iterdir()) == [src]
    skipped = cli(*virat(src, tmp_path / "out", "on_error=skip", "pictures=refer"))
    assert skipped.code == 0
    assert skipped.out.splitlines()[:3] == told
    assert "3 problems: those rows and files were left out\n2 pairs in" in skipped.out
    assert not (tmp_path / "out/images").exists()
    assert str(src) in (tmp_path / "out/pairs.csv").read_text()


def test_a_video_becomes_a_data_set(tmp_path: Path, cli: Callable) -> None:
    video = cv2.VideoWriter(str(tmp_path / "yard.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    rows = ["frame,id,xc,yc,w,h"]
    for number in range(20):
        picture = np.full((48, 64, 3), 90, np.uint8)
        picture[10:20, 2 * number : 2 * number + 10] = 250
        video.write(picture)
        rows.append(f"{number},1,{2 * number + 5},15,10,10")
    video.release()
    (tmp_path / "tracks.csv").write_text("\n".join(rows))
    words = ["data", "import", "format=mot", f"src={tmp_path}", f"out={tmp_path / 'out'}"]
    words += ["mot.frames=yard.avi", "mot.distances=[4, 6]", "mot.val=0.3", "mot.gap=1", "labels=both"]
    result = cli(*words)
    assert (result.code, result.err) == (0, "")
    # Frames 0 to 12 train, 15 to 19 validate; in 4 frames the object moves by 8 of its 10 pixels.
    counts = [line.split("│")[2:4] for line in result.out.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row] for row in counts] == [
        ["16", "1"],
        ["9", "1"],
        ["14", "0"],
        ["7", "0"],
        ["0", "0"],
        ["0", "0"],
        ["9", "1"],
    ]
    assert check(discover(tmp_path / "out"), ["person"]).problems == []
    assert (tmp_path / "out/labels/000000_000006.txt").read_text() == (
        "0 0.078125 0.3125 0.15625 0.20833333 before 0\n0 0.265625 0.3125 0.15625 0.20833333 after 0\n"
    )
    refused = cli(*words[:4], f"out={tmp_path / 'other'}", *words[5:], "pictures=refer")
    assert refused.code == 2
    assert "pictures=refer: the frames of the video" in refused.err


def test_nothing_is_overwritten_and_nothing_empty_is_written(tmp_path: Path, cli: Callable) -> None:
    save(tmp_path / "src/frames/1.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "src/gt.txt").write_text("1,1,0,0,4,4\n")
    words = ["data", "import", "format=mot", f"src={tmp_path / 'src'}"]
    result = cli(*words, f"out={tmp_path / 'out'}")
    assert result.code == 1
    assert "no frame pair can be made of it" in result.err
    result = cli(*words, f"out={tmp_path / 'src'}")
    assert result.code == 2
    assert "never overwritten" in result.err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["1.png", "frames", "gt.txt", "src"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["src=none"], "src=none: no such file or folder"),
        (["moved_iou=1.5"], "moved_iou=1.5: a number from 0 to 1"),
        (["moved_iou=nan"], "moved_iou=nan: a number from 0 to 1"),
        (["format=virat"], "neither index.txt nor files *_match.txt in it"),
        (["mot.val=-0.1"], "mot.val=-0.1: a number from 0 to 1"),
        (["mot.val=0.5", "mot.test=0.5"], "mot.val=0.5 mot.test=0.5: shares together below 1"),
        (["mot.stride=0"], "mot.stride=0: at least 1"),
        (["mot.gap=-1"], "mot.gap=-1: at least 0"),
        (["mot.distances=[]"], "mot.distances=[]: a list of different values, at least one"),
        (["mot.distances=[3,3]"], "mot.distances=[3, 3]: a list of different values, at least one"),
        (["mot.distances=[3,0]"], "mot.distances=[3, 0]: each at least 1"),
        (["mot.names=[a,a]"], "mot.names=['a', 'a']: a list of different values, at least one"),
        (["mot.min_visible=2"], "mot.min_visible=2.0: a number from 0 to 1"),
        (["format=yolo", "labels=after"], "labels=after: yolo has ready labels"),
        (["format=deeppcb", "labels=both"], "labels=both: deeppcb has ready labels"),
        (
            ["format=coco", "labels=before"],
            "labels=before: coco without coco.before and coco.after has ready",
        ),
        (["labels=moved"], "labels=moved"),
        (["mot.frame=img1"], "mot.frame: unknown setting, did you mean mot.frames"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, cli: Callable, words: list[str], message: str) -> None:
    result = cli("data", "import", "format=mot", f"src={tmp_path}", f"out={tmp_path / 'out'}", *words)
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert message in result.err
