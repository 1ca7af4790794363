"""What is exported comes back by import, through the command line."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from detr_diff.choices import Pictures, Places
from detr_diff.data.check import CheckReport, check
from detr_diff.data.discovery import discover
from detr_diff.data.formats import coco, yolo
from detr_diff.data.formats.coco_export import write_coco
from detr_diff.data.formats.writing import write
from detr_diff.data.formats.yolo_export import write_yolo
from detr_diff.data.image import read_image
from tests.data.formats.pictures import save
from tests.test_real_data import SHARED, needs_data

NAMES = ["person", "car"]


def random_boxes(count: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Boxes of any size, some reach beyond the picture; float32 [N, 4], cxcywh."""
    return np.hstack([rng.uniform(0, 1, (count, 2)), rng.uniform(0.001, 1, (count, 2)) ** 2]).astype(
        np.float32
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 pairs of 3 scenes that share frames, with awkward names and many random boxes."""
    root = tmp_path_factory.mktemp("source")
    rng = np.random.default_rng(5)
    (root / "labels").mkdir()
    (root / "dataset.yaml").write_text("names: [person, car]\n")
    for frame in range(4):
        for scene in ("yard", "gate", "long name"):
            save(root / f"video/{scene}/{frame}.png", rng.integers(0, 255, (37, 61, 3), np.uint8))
    with (root / "pairs.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["pair", "scene", "split", "before", "after", "label"])
        for index, scene in enumerate(4 * ["yard", "gate", "long name"]):
            before, after = index // 3, (index // 3 + 1) % 4
            split = "val" if scene == "gate" else "train"
            name = f"{scene}/images/{index // 3}" if index % 2 else f"{index} ünï,code"
            frames = [f"video/{scene}/{frame}.png" for frame in (before, after)]
            rows.writerow([name, scene, split, *frames, f"labels/{index}.txt"])
            lines = [
                " ".join([str(rng.integers(2)), *map(repr, map(float, box))])
                for box in random_boxes(0 if index == 4 else 20, rng)
            ]
            (root / f"labels/{index}.txt").write_text("\n".join(lines))
    return root


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """Two ready diff images, one of them in a folder."""
    for name in ("1", "yard/2"):
        save(tmp_path / f"ready/images/{name}.bmp", np.full((8, 9, 3), 7, np.uint8))
        label = tmp_path / f"ready/labels/{name}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("1 0.5 0.5 0.123456789 0.3\n")
    (tmp_path / "ready/dataset.yaml").write_text("names: [person, car]\n")
    return tmp_path / "ready"


def content(report: CheckReport) -> dict[str, tuple]:
    """Scene, split, size and exact objects of every pair, with the pixels of its frames."""
    assert report.problems == []
    return {
        item.pair.name: (
            item.pair.scene,
            item.pair.split,
            (item.width, item.height),
            item.labels.class_labels.tolist(),
            item.labels.boxes.view(np.int32).tolist(),
            item.pair.before and read_image(item.pair.before).numpy().tobytes(),
            read_image(item.pair.after).numpy().tobytes(),
        )
        for item in report.pairs
    }


def checked(root: Path, names: list[str] = NAMES) -> dict[str, tuple]:
    return content(check(discover(root), names))


@pytest.mark.parametrize("pictures", Pictures)
def test_coco_comes_back_the_same(root: Path, tmp_path: Path, cli: Callable, pictures: Pictures) -> None:
    words = [f"data.root={root}", f"out={tmp_path / 'coco'}", f"pictures={pictures}"]
    done = cli("data", "export", "format=coco", *words)
    assert done.code == 0, done.err
    assert [int(n) for n in done.out.split("│ pairs ")[1].splitlines()[0].split("│")[1:3]] == [8, 4]
    copies = list((tmp_path / "coco").rglob("*.png"))
    assert len(copies) == (12 if pictures is Pictures.copy else 0)
    back = cli("data", "import", "format=coco", f"src={tmp_path / 'coco'}", f"out={tmp_path / 'back'}")
    assert back.code == 0, back.out + back.err
    assert checked(tmp_path / "back") == checked(root)
    assert len(checked(root)) == 12


def test_what_an_export_loses_is_told(tmp_path: Path, cli: Callable) -> None:
    source = tmp_path / "source"
    (source / "labels").mkdir(parents=True)
    (source / "dataset.yaml").write_text("names: [person, car]\nlabels: after\n")
    rows = ["pair,scene,before,after,label"]
    for index in range(4):
        save(source / f"{index}.png", np.full((8, 9, 3), index, np.uint8))
        (source / f"labels/{index}.txt").write_text("1 0.5 0.5 0.25 0.25\n")
        rows.append(f"{'yard/' * (index == 3)}{index},yard,{index}.png,{index}.png,labels/{index}.txt")
    (source / "pairs.csv").write_text("\n".join(rows) + "\n")
    for form in ("coco", "yolo"):
        done = cli("data", "export", f"format={form}", f"data.root={source}", f"out={tmp_path / form}")
        assert (
            f"{form} does not say which places are labelled: after an import, write `labels: after`"
            in done.out
        )
        assert ("3 pairs would have another after an import" in done.out) is (form == "yolo")


def test_other_programs_read_the_coco_files(root: Path, tmp_path: Path, cli: Callable) -> None:
    out = tmp_path / "coco"
    assert cli("data", "export", "format=coco", f"data.root={root}", f"out={out}").code == 0
    expected = checked(root)
    for split in ("train", "val"):
        file = COCO(out / f"annotations/{split}.json")
        assert [category["name"] for category in file.loadCats([1, 2])] == NAMES
        for image in file.loadImgs(file.getImgIds()):
            scene, own_split, size, labels, boxes, *_ = expected[image["pair"]]
            assert (image["scene"], split, (image["width"], image["height"])) == (scene, own_split, size)
            assert (out / image["file_name"]).is_file()
            assert (out / image["before_file_name"]).is_file()
            annotations = file.loadAnns(file.getAnnIds(image["id"]))
            assert [a["category_id"] - 1 for a in annotations] == labels
            cxcywh = np.array(boxes, np.int32).view(np.float32).reshape(-1, 4) * np.array([*size, *size])
            bbox = np.array([a["bbox"] for a in annotations]).reshape(-1, 4)
            np.testing.assert_allclose(bbox[:, :2] + bbox[:, 2:] / 2, cxcywh[:, :2], rtol=1e-6)
            np.testing.assert_allclose(bbox[:, 2:], cxcywh[:, 2:], rtol=1e-6)
            np.testing.assert_allclose([a["area"] for a in annotations], bbox[:, 2] * bbox[:, 3])


def test_yolo_is_a_tree_of_diff_images(root: Path, tmp_path: Path, cli: Callable) -> None:
    out = tmp_path / "yolo"
    done = cli("data", "export", "format=yolo", f"data.root={root}", f"out={out}")
    assert done.code == 0, done.err
    back = cli("data", "import", "format=yolo", f"src={out}", f"out={tmp_path / 'back'}")
    assert back.code == 0, back.out + back.err
    expected, found = checked(root), checked(tmp_path / "back")
    assert found.keys() == expected.keys()
    size = (61, 37)
    for name, (_, split, _, labels, boxes, before, after) in expected.items():
        assert found[name][1:5] == (split, size, labels, boxes)
        frames = [torch.frombuffer(bytearray(f), dtype=torch.uint8).int() for f in (before, after)]
        assert found[name][6] == (frames[1] - frames[0]).abs().to(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("form", ["coco", "yolo"])
def test_ready_diff_images_come_back(ready: Path, tmp_path: Path, cli: Callable, form: str) -> None:
    words = [f"data.root={ready}", f"out={tmp_path / 'out'}", "data.val=0"]
    assert cli("data", "export", f"format={form}", *words).code == 0
    back = cli("data", "import", f"format={form}", f"src={tmp_path / 'out'}", f"out={tmp_path / 'back'}")
    assert back.code == 0, back.out + back.err
    expected = {name: (own[0], "train", *own[2:]) for name, own in checked(ready).items()}
    assert checked(tmp_path / "back") == expected


box = st.tuples(*[st.floats(2**-13, 1, width=32)] * 4)


@settings(max_examples=40)
@given(rows=st.lists(box, max_size=5, unique=True), size=st.sampled_from([(61, 37), (2, 2), (640, 333)]))
def test_boxes_come_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, ...]], size: tuple[int, int]
) -> None:
    source = tmp_path_factory.mktemp("exact")
    save(source / "images/1.png", np.zeros((size[1], size[0], 3), np.uint8))
    (source / "labels").mkdir()
    (source / "labels/1.txt").write_text("".join(f"0 {' '.join(map(repr, row))}\n" for row in rows))
    report = check(discover(source), NAMES)
    assert len(report.pairs[0].labels) == len(rows)
    for form in ("coco", "yolo"):
        out, back = source / form, source / f"{form}_back"
        out.mkdir()
        back.mkdir()
        if form == "coco":
            write_coco(out, {"train": report.pairs}, NAMES, Pictures.refer)
            imported = coco.read(out, None, None, None, 0.0)
        else:
            write_yolo(out, {"train": report.pairs}, NAMES)
            imported = yolo.read(out)
        assert imported.problems == []
        write(imported, back, Places.changed, Pictures.refer)
        assert [own[4] for own in checked(back).values()] == [
            report.pairs[0].labels.boxes.view(np.int32).tolist()
        ]


def test_problems_are_refused_or_left_out(
    tmp_path: Path, cli: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "source"
    for name in ("1", "2"):
        for role in ("before", "after"):
            save(source / f"images/{name}_{role}.png", np.zeros((8, 8, 3), np.uint8))
    (source / "labels").mkdir()
    (source / "labels/1.txt").write_text("0 0.5 0.5 0.5 0.5")
    (source / "labels/2.txt").write_text("0 0.5 0.5 0.5")
    words = ["format=coco", f"data.root={source}", "data.names=[a]", f"out={tmp_path / 'out'}"]
    refused = cli("data", "export", *words)
    assert refused.code == 1
    assert f"{source}/labels/2.txt:1: 4 fields" in refused.err
    assert "1 problem in" in refused.err
    assert "data.on_error=skip" in refused.err
    assert not (tmp_path / "out").exists()
    skipped = cli("data", "export", *words, "data.on_error=skip")
    assert skipped.code == 0
    assert "pairs left out: 1" in caplog.text
    images = json.loads((tmp_path / "out/annotations/train.json").read_text())["images"]
    assert [image["pair"] for image in images] == ["1"]


def test_pairs_across_a_cut_in_time_are_left_out(root: Path, tmp_path: Path, cli: Callable) -> None:
    words = [f"data.root={root}", f"out={tmp_path / 'out'}", "data.split_by=time", "data.val=0.5"]
    done = cli("data", "export", "format=coco", *words)
    assert done.code == 0, done.err
    assert "pairs have frames on both sides of a cut in time and were left out" in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["format=yolo", "out=x", "pictures=refer"], "pictures=refer: YOLO needs diff images"),
        (["format=coco", "out=full"], "out=full: exists and is never overwritten"),
        (["format=coco", "out=x", "data.labels=none"], "data.labels=none: no such folder"),
        (["format=cocoa", "out=x"], "format=cocoa: Invalid value 'cocoa', expected one of [coco, yolo]"),
    ],
)
def test_a_mistake_gets_one_clear_line(
    root: Path, words: list[str], message: str, tmp_path: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    result = cli("data", "export", f"data.root={root}", *words)
    assert result.code == 2
    assert result.err.startswith(f"detr-diff: {message}")
    assert len(result.err.splitlines()) == 1
    assert not (tmp_path / "x").exists()


@needs_data
def test_real_boxes_come_back(tmp_path: Path, cli: Callable) -> None:
    boards = SHARED / "deeppcb"
    stems = sorted(path.stem for path in (boards / "labels").iterdir())[:15]
    source = tmp_path / "source"
    source.mkdir()
    with (source / "pairs.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["pair", "before", "after", "label"])
        for stem in stems:
            frames = [boards / f"images/{stem}_{role}.png" for role in ("before", "after")]
            rows.writerow([stem, *frames, boards / f"labels/{stem}.txt"])
    names = ["open", "short", "mousebite", "spur", "copper", "pin-hole"]
    words = [f"data.root={source}", f"data.names=[{','.join(names)}]", "pictures=refer", "data.val=0"]
    assert cli("data", "export", "format=coco", f"out={tmp_path / 'coco'}", *words).code == 0
    src = tmp_path / "coco/annotations/train.json"
    done = cli("data", "import", "format=coco", f"src={src}", f"out={tmp_path / 'back'}", "pictures=refer")
    assert done.code == 0, done.out + done.err
    expected = {name: (own[0], "train", *own[2:]) for name, own in checked(source, names).items()}
    assert checked(tmp_path / "back", names) == expected
