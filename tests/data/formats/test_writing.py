from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_iou

from detr_diff.choices import Pictures, Places
from detr_diff.data.check import check
from detr_diff.data.description import read_description
from detr_diff.data.discovery import discover
from detr_diff.data.formats.imported import Change, Imported, ImportedPair, clipped, fault_of, iou, labels_of
from detr_diff.data.formats.writing import write
from detr_diff.data.labels import read_labels
from tests.data.formats.pictures import save

OLD, NEW = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0)
MOVED, APPEARED, LEFT = Change(0, OLD, NEW), Change(0, None, NEW), Change(0, OLD, None)
edge = st.floats(-500, 500, width=32)
box = st.tuples(edge, edge, edge, edge)


@pytest.mark.parametrize(
    ("places", "moved", "appeared", "left"),
    [
        (Places.after, [NEW], [], []),
        (Places.before, [OLD], [], []),
        (Places.both, [OLD, NEW], [], []),
        (Places.changed, [OLD, NEW], [NEW], [OLD]),
        (None, [OLD, NEW], [NEW], [OLD]),
    ],
)
def test_places_choose_the_boxes(places: Places | None, moved: list, appeared: list, left: list) -> None:
    assert [labels_of(change, places) for change in (MOVED, APPEARED, LEFT)] == [moved, appeared, left]


@given(a=box, b=box)
def test_iou_is_that_of_torchvision(a: tuple, b: tuple) -> None:
    corners = np.sort(np.array([a, b]).reshape(2, 2, 2), axis=1).reshape(2, 4)
    if (corners[:, 2:] - corners[:, :2]).min() < 1e-3:
        return
    one, other = torch.from_numpy(corners)
    expected = box_iou(one[None], other[None]).item()
    assert iou(tuple(one.tolist()), tuple(other.tolist())) == pytest.approx(expected, abs=1e-9)
    assert iou(tuple(other.tolist()), tuple(one.tolist())) == pytest.approx(expected, abs=1e-9)


@given(box=box)
def test_a_box_is_used_exactly_when_it_overlaps_the_picture(
    tmp_path_factory: pytest.TempPathFactory, box: tuple
) -> None:
    x0, y0, x1, y1 = box
    overlaps = x0 < x1 and y0 < y1 and x0 < 99.99 and x1 > 0.01 and y0 < 49.99 and y1 > 0.01
    thin = min(x1, 100) - max(x0, 0) < 0.01 or min(y1, 50) - max(y0, 0) < 0.01
    fault = fault_of(box, (100, 50))
    if not overlaps:
        assert fault is not None or thin
    elif not thin:
        assert fault is None
        inside = clipped(box, (100, 50))
        assert 0 <= inside[0] < inside[2] <= 100
        assert 0 <= inside[1] < inside[3] <= 50


def pair(root: Path, name: str, changes: list[Change], **more: object) -> ImportedPair:
    before, after = root / f"cam/{name}_a.png", root / f"cam/{name}_b.png"
    for path in (before, after):
        save(path, np.zeros((48, 64, 3), np.uint8))
    return ImportedPair(name, before, after, (64, 48), changes, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("pictures", Pictures)
def test_a_written_set_is_sound_and_says_what_it_holds(tmp_path: Path, pictures: Pictures) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    out.mkdir()
    first = pair(source, "x/1", [MOVED, APPEARED], scene="yard", split="val")
    second = ImportedPair("x/2", first.after, first.before, (64, 48), [])
    third = pair(source, "3", [Change(1, None, (-10.0, 40.0, 6.5, 60.0))])
    written = write(Imported(["a", "b"], [first, second, third]), out, Places.changed, pictures)
    assert (written.clipped, written.shared, written.places) == (1, 1, Places.changed)
    assert written.boxes == {("val", 0): 2, (None, 1): 1}
    assert (written.pairs, written.empty) == ({"val": 1, None: 2}, {"val": 0, None: 1})
    assert read_description(out).names == ["a", "b"]
    assert read_description(out).places is Places.changed
    found = discover(out)
    assert check(found, ["a", "b"]).problems == []
    assert [(p.name, p.scene, p.split) for p in found.pairs] == [
        ("x/1", "yard", "val"),
        ("x/2", None, None),
        ("3", None, None),
    ]
    copies = sorted(p.relative_to(out / "images").as_posix() for p in (out / "images").rglob("*.png"))
    if pictures is Pictures.copy:
        assert copies == ["3_a.png", "3_b.png", "x/1_a.png", "x/1_b.png"]
        assert found.pairs[0].after == found.pairs[1].before == out / "images/x/1_b.png"
    else:
        assert copies == []
        assert found.pairs[0].before == first.before
    labels, _ = read_labels(out / "labels/3.txt", ["a", "b"])
    np.testing.assert_allclose(labels.boxes[0] * [64, 48, 64, 48], [3.25, 44, 6.5, 8], rtol=1e-7)


def test_ready_diff_images_have_no_before(tmp_path: Path) -> None:
    save(tmp_path / "in/1.png", np.zeros((48, 64, 3), np.uint8))
    ready = ImportedPair("1", None, tmp_path / "in/1.png", (64, 48), [Change(0, None, NEW)])
    (tmp_path / "out").mkdir()
    written = write(Imported(["a"], [ready], places=None), tmp_path / "out", Places.changed, Pictures.copy)
    assert written.places is None
    found = discover(tmp_path / "out")
    assert check(found, ["a"]).problems == []
    assert [p.before for p in found.pairs] == [None]
    assert read_description(tmp_path / "out").places is None


def test_no_more_is_promised_than_the_source_knows(tmp_path: Path) -> None:
    imported = Imported(["a"], [pair(tmp_path / "in", "1", [MOVED])], places=Places.both)
    for name, wished, places in (("c", Places.changed, Places.both), ("b", Places.before, Places.before)):
        (tmp_path / name).mkdir()
        assert write(imported, tmp_path / name, wished, Pictures.copy).places is places
        assert read_description(tmp_path / name).places is places


@given(
    row=st.tuples(*[st.floats(0.0, 1.0, width=32)] * 2, *[st.floats(2**-10, 1.0, width=32)] * 2),
    size=st.sampled_from([(1920, 1080), (640, 641), (333, 777)]),
)
def test_labels_come_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, row: tuple, size: tuple[int, int]
) -> None:
    cx, cy, w, h = row
    if min(cx - w / 2, cy - h / 2) < 0 or max(cx + w / 2, cy + h / 2) > 1:
        return
    width, height = size
    box = ((cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height)
    root = tmp_path_factory.mktemp("exact")
    made = ImportedPair("p", None, root / "p.png", size, [Change(0, None, box)])
    write(Imported(["a"], [made]), root, Places.changed, Pictures.refer)
    labels, problems = read_labels(root / "labels/p.txt", ["a"])
    assert problems == []
    assert labels.boxes[0].tolist() == list(row)
