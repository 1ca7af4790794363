import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detr_diff.data.camera_motion import texture
from detr_diff.data.change import change, corners, covered, explained, solid, unlabelled_change
from detr_diff.data.inspection import OWN, READINGS, inspect
from detr_diff.data.labels import NO_LABELS, Labels
from detr_diff.data.synthetic import Scene, SceneSettings
from detr_diff.data.view import View

STEADY = SceneSettings(width=200, height=160, shake=0, noise=2, empty=0)
side = st.floats(0.05, 0.9)


def generated(scene: int, index: int, look: SceneSettings = STEADY) -> tuple:
    pair = Scene(scene, look).pair(index)
    before, after = (torch.from_numpy(f).permute(2, 0, 1) for f in (pair.before, pair.after))
    rows = np.array(pair.rows).reshape(-1, 5)
    return before, after, Labels(rows[:, 0].astype(np.int64), rows[:, 1:].astype(np.float32))


def test_change_is_the_distance_from_the_range_of_the_neighbours() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.integers(0, 256, (2, 3, 9, 7), np.uint8)
    expected = np.zeros((9, 7), int)
    for y in range(9):
        for x in range(7):
            window = (slice(None), slice(max(0, y - 1), y + 2), slice(max(0, x - 1), x + 2))
            for frame, other in ((before, after), (after, before)):
                near, value = other[window].astype(int), frame[:, y, x].astype(int)
                low, high = near.min((1, 2)), near.max((1, 2))
                expected[y, x] = max(expected[y, x], (value - high).max(), (low - value).max())
    np.testing.assert_array_equal(change(torch.from_numpy(before), torch.from_numpy(after)), expected)


def test_a_shift_by_one_pixel_is_no_change_but_a_thin_object_is_one() -> None:
    before, _, _ = generated(0, 0)
    assert change(before, before.roll(1, dims=2))[2:-2, 2:-2].max() == 0
    after = before.clone()
    after[:, 50:53, 40:80] = 255 - after[:, 50:53, 40:80]
    assert solid(change(before, after) > 40)[50:53, 40:80].mean() > 0.8


@given(st.lists(st.tuples(side, side, side, side), min_size=1, max_size=4))
def test_boxes_cover_what_a_slow_loop_says(rows: list[tuple]) -> None:
    boxes = np.array(rows, np.float32)
    mask = covered(boxes, 12, 20)
    for y in range(12):
        for x in range(20):
            inside = [
                cx - w / 2 < (x + 1) / 20 - 1e-5
                and cx + w / 2 > x / 20 + 1e-5
                and cy - h / 2 < (y + 1) / 12 - 1e-5
                and cy + h / 2 > y / 12 + 1e-5
                for cx, cy, w, h in boxes.tolist()
            ]
            if any(inside):
                assert mask[y, x]
    edges = corners(boxes, 12, 20)
    assert (edges[:, :2] >= 0).all()
    assert (edges[:, 2:] <= [20, 12]).all()


@given(st.tuples(side, side, side, side))
def test_perfect_boxes_explain_all_and_random_ones_nothing(row: tuple) -> None:
    boxes = np.array([row], np.float32)
    changed = covered(boxes, 40, 60)
    assert explained(changed, boxes) == pytest.approx(1 - changed.mean())
    assert explained(np.ones((40, 60), bool), boxes) == pytest.approx(0)


def test_unlabelled_change_is_the_share_outside() -> None:
    amount = np.zeros((40, 60), np.uint8)
    amount[5:15, 5:15] = amount[25:35, 40:50] = 100
    one = np.array([[10 / 60, 10 / 40, 10 / 60, 10 / 40]], np.float32)
    both = np.concatenate([one, np.array([[45 / 60, 30 / 40, 10 / 60, 10 / 40]], np.float32)])
    assert unlabelled_change(amount, one) == pytest.approx(0.5, abs=0.1)
    assert unlabelled_change(amount, both) == pytest.approx(0)
    assert unlabelled_change(amount, both[:0]) is None
    assert unlabelled_change(amount * 0, both) is None


def test_a_healthy_pair_has_nothing_to_complain_of() -> None:
    for index in range(4):
        seen = inspect(*generated(1, index))
        assert not seen.still.any()
        assert seen.moved < 0.5
        assert seen.fits[OWN] > 0.5
        assert seen.unlabelled is not None
        assert seen.unlabelled < 0.1


@pytest.mark.parametrize("degrees", [2.0, -4.0])
def test_a_camera_that_turns_about_its_middle_has_moved(degrees: float) -> None:
    """Or every edge far from the middle would look like an object without a box."""
    before, after, labels = generated(1, 2, SceneSettings(width=320, height=256, shake=0, noise=2, empty=0))
    turn = cv2.getRotationMatrix2D((159.5, 127.5), degrees, 1.0)
    turned = cv2.warpAffine(before.permute(1, 2, 0).numpy(), turn, (320, 256), borderMode=cv2.BORDER_REFLECT)
    seen = inspect(torch.from_numpy(turned).permute(2, 0, 1), after, labels)
    assert seen.shift is not None
    assert np.hypot(*seen.shift) < 0.5
    assert abs(seen.rotation) == pytest.approx(abs(degrees), abs=0.1)
    assert seen.moved == pytest.approx(np.hypot(159.5, 127.5) * np.radians(abs(degrees)), rel=0.05)
    assert seen.unlabelled is not None
    assert seen.unlabelled < 0.2


@pytest.mark.parametrize("scene", range(3))
def test_frames_of_two_views_are_told(scene: int) -> None:
    look = SceneSettings(width=320, height=256, shake=0, noise=4, empty=0)
    before, after, labels = generated(scene, 0, look)
    far = torch.roll(before, (30, 60), (1, 2))
    seen = inspect(far, after, labels)
    assert (seen.shift, seen.view) == (None, View.moved)
    assert seen.apart == pytest.approx(np.hypot(30, 60), abs=3)
    elsewhere = generated(scene + 10, 0, look)[0]
    assert inspect(elsewhere, after, labels).view is View.other
    assert inspect(before, after, labels).view is View.same
    plain = torch.full_like(after, 90)
    assert inspect(before, plain, labels).view is View.same  # it cannot be told: night, fog
    # Noise, another light, and an object on a quarter of the frame.
    rng = np.random.default_rng(scene)
    hard = (0.5 * after.numpy() + rng.normal(0, 12, after.shape)).clip(0, 255).astype(np.uint8)
    hard[:, 60:190, 80:240] = rng.integers(0, 255, (3, 130, 160))
    assert inspect(before, torch.from_numpy(hard), labels).view is View.same


def test_pictures_with_flat_parts_have_a_texture() -> None:
    """Rounding made a sum of squares negative, and most bilevel pictures could not be aligned."""
    rng = np.random.default_rng(0)
    for size in (97, 240):
        flat = np.zeros((size, size), np.float32)
        for y, x, side in rng.integers(0, size // 2, (40, 3)).tolist():
            flat[y : y + side, x : x + side] = 255 * rng.integers(2)
        assert np.isfinite(texture(flat)).all()


def test_boxes_on_nothing_and_blobs_without_a_box_are_seen() -> None:
    before, _, _ = generated(1, 1)
    after = before.clone()
    for y, x in ((20, 30), (100, 140)):
        after[:, y : y + 24, x : x + 16] = torch.tensor([0, 0, 0, 0, 255, 255, 255, 255] * 2)
    boxes = np.array([[38 / 200, 32 / 160, 16 / 200, 24 / 160], [0.2, 0.8, 0.1, 0.1]], np.float32)
    seen = inspect(before, after, Labels(np.zeros(2, np.int64), boxes))
    assert seen.still.tolist() == [False, True]
    inside, outside = sorted(seen.blobs.tolist())
    np.testing.assert_allclose(inside[:6], [30, 20, 46, 44, 384, 384], atol=90)
    np.testing.assert_allclose(outside[:4], [140, 100, 156, 124], atol=3)
    assert outside[4] > 200
    assert outside[5] == 0
    assert (inside[6], outside[6]) == (1, 1)
    assert seen.in_after.tolist() == [True, False]
    gone = inspect(after, before, Labels(np.zeros(2, np.int64), boxes))
    assert not gone.in_after.any()
    assert not gone.blobs[:, 6].any()
    still = inspect(before, before, Labels(np.zeros(2, np.int64), boxes))
    assert still.still.all()
    assert still.fits == {}
    assert len(still.blobs) == 0
    assert still.unlabelled is None


@pytest.mark.parametrize("shift", [(0.0, 0.0), (3.0, -2.0), (-4.5, 1.5)])
def test_the_shift_of_the_camera_is_measured(shift: tuple[float, float]) -> None:
    before, after, labels = generated(2, 1, SceneSettings(width=320, height=240, shake=0, empty=0))
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
    pixels = after.permute(1, 2, 0).contiguous().numpy()
    moved = cv2.warpAffine(pixels, matrix, (320, 240), borderMode=cv2.BORDER_REFLECT)
    seen = inspect(before, torch.from_numpy(moved).permute(2, 0, 1), labels)
    assert seen.shift == pytest.approx(shift, abs=0.4)
    assert abs(seen.rotation) < 0.2


@settings(max_examples=20)
@given(st.floats(0.85, 1.15), st.floats(-12, 12))
def test_the_change_of_light_is_measured(gain: float, bias: float) -> None:
    before, _, labels = generated(3, 0)
    after = (before.double() * gain + bias).round().clamp(0, 255).to(torch.uint8)
    seen = inspect(before, after, labels)
    grey = before.double().mean()
    assert seen.gain * grey + seen.bias == pytest.approx(float(gain * grey + bias), abs=1.5)
    expected = (before.double() * (gain - 1) + bias).abs().mean()
    assert seen.light == pytest.approx(float(expected), abs=1.5)
    assert seen.still.all()


@pytest.mark.parametrize("reading", list(READINGS))
def test_labels_in_another_format_fit_when_read_in_it(reading: str) -> None:
    before, after, labels = generated(4, 2)
    cx, cy, w, h = labels.boxes.T
    written = {
        "cy cx h w": (cy, cx, h, w),
        "cy cx w h": (cy, cx, w, h),
        "x y w h of the upper left corner": (cx - w / 2, cy - h / 2, w, h),
        "x0 y0 x1 y1": (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2),
    }
    wrong = Labels(labels.class_labels, np.stack(written[reading], axis=1).clip(0, 1))
    fits = inspect(before, after, wrong).fits
    assert max(fits, key=fits.__getitem__) == reading
    assert fits[reading] > fits[OWN] + 0.05


def test_labels_of_another_pair_fit_that_pair() -> None:
    before, after, labels = generated(5, 1)
    other = generated(5, 3)[2]
    fits = inspect(before, after, other, {"next": labels.boxes}).fits
    assert fits["next"] > fits[OWN] + 0.2
    assert "next" not in inspect(before, after, other, {"next": NO_LABELS.boxes}).fits
