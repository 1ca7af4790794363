import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou

from detr_diff.evaluation import matching
from detr_diff.evaluation.matching import IOU_THRESHOLDS, match
from detr_diff.evaluation.object_size import COCO_SIZES, third_of, thirds, with_any
from detr_diff.evaluation.overlap import overlaps
from detr_diff.evaluation.record import Record
from tests.evaluation.scenes import coco, record, scene


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.5]), st.booleans())
def test_overlaps_are_those_of_torchvision(seed: int, least: float, whole: bool) -> None:
    own = record(*scene(seed, whole=whole))
    found = overlaps(own, least)
    expected = box_iou(torch.from_numpy(own.boxes), torch.from_numpy(own.object_boxes)).numpy()
    expected[own.image[:, None] != own.object_image] = 0
    prediction, objects = np.nonzero(expected >= least)
    assert found.prediction.tolist() == prediction.tolist()
    assert found.object.tolist() == objects.tolist()
    np.testing.assert_allclose(found.iou, expected[prediction, objects], rtol=1e-12)


def test_overlaps_do_not_depend_on_how_many_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    own = record(*scene(12, images=30))
    whole = overlaps(own), match(own, overlaps(own))
    monkeypatch.setattr("detr_diff.evaluation.overlap.AT_ONCE", 7)
    monkeypatch.setattr(matching, "IMAGES_AT_ONCE", 4)
    parts = overlaps(own), match(own, overlaps(own))
    for one, other in zip(whole, parts, strict=True):
        for first, second in zip(one[-4:], other[-4:], strict=True):
            np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(whole[1].taken, parts[1].taken)


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.booleans())
def test_matches_are_those_of_pycocotools(seed: int, whole: bool) -> None:
    """Every prediction, at every threshold and size, with ties and objects out of range."""
    predictions, truths = scene(seed, images=5, whole=whole)
    own = record(predictions, truths)
    sizes = COCO_SIZES | thirds(own)
    matches = match(own, overlaps(own), sizes=with_any(sizes))
    ranges = [[0, 1e10], *sizes.values()]
    for found in coco(predictions, truths, sizes).evalImgs:
        if found is None:
            continue
        a = ranges.index(found["aRng"])
        rows = np.flatnonzero((own.image == found["image_id"]) & (own.labels == found["category_id"]))
        hit, counted = np.zeros((10, len(rows)), bool), np.repeat(matches.inside[a, rows][None], 10, axis=0)
        for column, row in enumerate(rows):
            place = np.flatnonzero(matches.candidates == row)
            if len(place):
                hit[:, column], counted[:, column] = matches.hit[a, :, place], matches.counted[a, :, place]
        assert np.array_equal(counted, ~found["dtIgnore"].astype(bool))
        assert np.array_equal(hit, (found["dtMatches"] > 0) & ~found["dtIgnore"].astype(bool))
        objects = (own.object_image == found["image_id"]) & (own.object_labels == found["category_id"])
        assert matches.object_inside[a, objects].sum() == (~np.array(found["gtIgnore"], bool)).sum()


def of(iou: list[list[float]], thresholds: tuple[float, ...]) -> list[list[bool]]:
    """Match predictions to objects of given overlaps."""
    table = np.array(iou)
    made, objects = table.shape
    zeros = np.zeros(made, np.int64), np.zeros(objects, np.int64)
    own = Record(
        np.zeros(1, np.int64),
        zeros[0],
        np.zeros((made, 4)),
        np.linspace(1, 0.5, made),
        zeros[0],
        zeros[1],
        np.zeros((objects, 4)),
        zeros[1],
    )
    rows = np.indices(table.shape).reshape(2, -1)
    pairs = matching.Overlaps(rows[0], rows[1], table.ravel())
    return [match(own, pairs, thresholds).hits(t).tolist() for t in range(len(thresholds))]


def test_the_second_best_object_is_tried() -> None:
    iou = [[0.9, 0.6], [0.8, 0.7]]
    assert of(iou, (0.5, 0.75)) == [[True, True], [True, False]]


@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 6))
def test_no_object_is_found_twice(seed: int, predictions: int, objects: int) -> None:
    iou = np.random.default_rng(seed).random((predictions, objects))
    found = np.array(of(iou.tolist(), (0.3, 0.6, 0.9)))
    assert (found.sum(1) <= min(predictions, objects)).all()
    assert (np.diff(found.sum(1)) <= 0).all()
    assert not found[:, (iou < 0.3).all(1)].any()
    assert found[0].sum() >= (iou >= 0.3).any()


def test_the_taken_objects_are_told() -> None:
    own = record(*scene(5, images=12))
    matches = match(own, overlaps(own))
    for t in range(len(IOU_THRESHOLDS)):
        taken = matches.taken[t]
        found = taken[taken >= 0]
        assert len(set(found.tolist())) == len(found) == matches.hit[0, t].sum()
        candidates = matches.candidates[taken >= 0]
        assert (own.image[candidates] == own.object_image[found]).all()
        assert (own.labels[candidates] == own.object_labels[found]).all()


def test_thirds_hold_a_third_each_and_no_object_twice() -> None:
    own = record(*scene(6, images=40))
    ranges = thirds(own)
    inside = match(own, overlaps(own), sizes=with_any(ranges)).object_inside
    assert inside[1:].sum(0).tolist() == [1] * len(own.object_labels)
    assert np.ptp(inside[1:].sum(1)) <= 1
    equal = own._replace(object_boxes=np.tile([0.0, 0, 4, 4], (len(own.object_labels), 1)))
    assert match(equal, overlaps(equal), sizes=with_any(thirds(equal))).object_inside[1:].sum() == len(
        own.object_labels
    )
    assert list(thirds(record([], []))) == ["smallest", "middle", "largest"]
    with pytest.raises(ValueError, match="the first range must be"):
        match(own, overlaps(own), sizes=tuple(ranges.values()))


def test_objects_of_one_size_are_in_one_third() -> None:
    """Labels are rounded: the area of equal boxes differs in the last digits."""
    rng = np.random.default_rng(0)
    widths = rng.integers(20, 24, 300)
    w, h = (np.round(widths / 1920, 6) * 1920, np.round(2 * widths / 1080, 6) * 1080)
    boxes = np.stack([np.zeros(300), np.zeros(300), w, h], axis=1)
    own = record([], [])._replace(
        images=np.arange(300),
        object_image=np.arange(300),
        object_boxes=boxes,
        object_labels=np.zeros(300, np.int64),
    )
    position = third_of(own.object_areas(), thirds(own))
    for width in range(20, 24):
        assert len(set(position[widths == width].tolist())) == 1
    inside = match(own, overlaps(own), sizes=with_any(thirds(own))).object_inside[1:]
    assert (inside.argmax(0) == position).all()
