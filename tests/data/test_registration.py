from functools import cache

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from detr_diff.choices import Diff, Registration
from detr_diff.data.diff import diff_image
from detr_diff.data.image import read_image
from detr_diff.data.registration import align, estimate
from detr_diff.data.synthetic import Scene, SceneSettings
from tests.conftest import ROOT

METHODS = [Registration.phase, Registration.ecc, Registration.orb]
IDENTITY = np.eye(2, 3)
PETS = ROOT.parent / "shared/data/pets2009_s2l1/frames"
every_method = pytest.mark.parametrize("method", METHODS)
Frame = np.ndarray


@cache
def scene_pair(number: int, width: int = 160, height: int = 128) -> tuple[Frame, Frame]:
    """Two frames of a camera that stands still; objects move, light and noise differ."""
    pair = Scene(number, SceneSettings(width=width, height=height, shake=0)).pair(number)
    return pair.before, pair.after


def tensor(frame: Frame) -> Tensor:
    return torch.from_numpy(frame).permute(2, 0, 1)


def motion(dx: float, dy: float, degrees: float, frame: Frame) -> np.ndarray:
    """Rotation about the centre of the frame, then a shift."""
    height, width = frame.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    matrix[:, 2] += dx, dy
    return matrix


def shaken(frame: Frame, matrix: np.ndarray) -> Frame:
    return cv2.warpAffine(frame, matrix, frame.shape[1::-1], borderMode=cv2.BORDER_REFLECT)


def corner_error(found: np.ndarray | None, true: np.ndarray, frame: Frame) -> float:
    """Mean distance in pixels of the four corners."""
    assert found is not None
    height, width = frame.shape[:2]
    corners = [(x, y, 1) for x in (0, width - 1) for y in (0, height - 1)]
    return float(np.mean([np.hypot(*((found - true) @ corner)) for corner in corners]))


def with_large_object(before: Frame, after: Frame, moved: int) -> tuple[Frame, Frame]:
    """An object of strong contrast on a fifth of the frame."""
    height, width = before.shape[:2]
    size = (int(width * 0.45), int(height * 0.45))
    cells = np.random.default_rng(1).integers(0, 255, (12, 16, 3), np.uint8)
    picture = cv2.resize(cells, size, interpolation=cv2.INTER_CUBIC)
    frames = before.copy(), after.copy()
    for frame, x in zip(frames, (10, 10 + moved), strict=True):
        frame[20 : 20 + size[1], x : x + size[0]] = picture
    return frames


@every_method
@settings(max_examples=12)
@given(st.integers(0, 30), st.floats(-8, 8), st.floats(-8, 8), st.floats(-2, 2))
def test_a_known_shake_is_found(
    method: Registration, number: int, dx: float, dy: float, degrees: float
) -> None:
    before, after = scene_pair(number)
    true = motion(dx, dy, degrees, after)
    found = estimate(tensor(before), tensor(shaken(after, true)), method)
    assert corner_error(found, true, after) < 0.5


@every_method
@settings(max_examples=6)
@given(st.integers(0, 30), st.floats(-8, 8), st.floats(-8, 8), st.floats(-2, 2))
def test_swapped_frames_give_the_opposite_motion(
    method: Registration, number: int, dx: float, dy: float, degrees: float
) -> None:
    before, after = scene_pair(number)
    frames = tensor(before), tensor(shaken(after, motion(dx, dy, degrees, after)))
    there, back = estimate(*frames, method), estimate(*frames[::-1], method)
    assert there is not None
    assert back is not None
    assert corner_error(back @ np.vstack([there, [0, 0, 1]]), IDENTITY, after) < 0.5


@every_method
def test_large_frames_are_exact_to_a_part_of_a_pixel(method: Registration) -> None:
    before, after = scene_pair(3, 640, 480)
    true = motion(7.3, -6.1, 1.7, after)
    assert corner_error(estimate(tensor(before), tensor(shaken(after, true)), method), true, after) < 0.3


@every_method
def test_another_light_does_not_matter(method: Registration) -> None:
    before, after = scene_pair(5)
    true = motion(-5.5, 3.2, -1.5, after)
    darker = (0.9 * shaken(after, true).astype(np.float32) + 2).astype(np.uint8)
    shadow = darker.copy()
    shadow[60:, 90:] = shadow[60:, 90:] * 0.7
    for frame in (darker, shadow):
        assert corner_error(estimate(tensor(before), tensor(frame), method), true, after) < 0.5


@every_method
@pytest.mark.parametrize("moved", [6, 16, 60])
def test_a_large_moved_object_does_not_pull(method: Registration, moved: int) -> None:
    before, after = with_large_object(*scene_pair(7), moved)
    true = motion(6, -4, 1, after)
    assert corner_error(estimate(tensor(before), tensor(shaken(after, true)), method), true, after) < 0.5


@every_method
def test_aligned_frames_differ_no_more_than_those_of_a_still_camera(method: Registration) -> None:
    for number in range(5):
        before, after = scene_pair(number)
        moved = tensor(shaken(after, motion(7, 5, -2, after)))
        aligned, success = align(tensor(before), moved, method)
        assert success
        still = diff_image(tensor(before), tensor(after), Diff.abs).float()
        assert diff_image(aligned, moved, Diff.abs).float().mean() < 1.1 * still.mean()
        assert diff_image(tensor(before), moved, Diff.abs).float().mean() > 1.2 * still.mean()


@every_method
def test_a_camera_that_stood_still_leaves_the_frame_untouched(method: Registration) -> None:
    for number in range(5):
        before, after = (tensor(frame) for frame in scene_pair(number))
        for other in (before, after):
            aligned, success = align(before, other, method)
            assert success
            assert aligned is before
            assert np.array_equal(estimate(before, other, method), IDENTITY)


@every_method
def test_what_the_camera_did_not_see_is_no_difference(method: Registration) -> None:
    before, after = scene_pair(2)
    other = tensor(shaken(after, motion(8, -6, 2, after)))
    kept = other.clone()
    matrix = estimate(tensor(before), other, method)
    aligned, success = align(tensor(before), other, method)
    assert success
    assert torch.equal(other, kept)
    assert aligned.dtype == torch.uint8
    assert aligned.shape == other.shape

    x, y = np.meshgrid(np.arange(160), np.arange(128))
    inverse = cv2.invertAffineTransform(matrix)
    origin = np.stack([x, y, np.ones_like(x)], -1) @ inverse.T  # of each pixel, in the before frame
    inside = np.minimum(origin, np.array([159, 127]) - origin).min(-1)
    unseen, seen = torch.from_numpy(inside < 0), torch.from_numpy(inside > 3)
    assert 0.05 < unseen.float().mean() < 0.3
    for diff, nothing in ((Diff.abs, 0), (Diff.signed, 128)):
        assert (diff_image(aligned, other, diff)[:, unseen] == nothing).all()
    # What it saw is the before frame, looked up where the matrix says.
    looked_up = cv2.remap(before, *np.moveaxis(origin.astype(np.float32), -1, 0), cv2.INTER_LINEAR)
    error = (aligned.int() - tensor(looked_up).int()).abs()
    assert error[:, seen].max() <= 4


@every_method
def test_the_layout_in_memory_does_not_matter(method: Registration) -> None:
    before, after = scene_pair(4)
    frames = tensor(before), tensor(shaken(after, motion(3, 4, 1, after)))
    aligned, _ = align(*frames, method)
    assert torch.equal(align(*(frame.contiguous() for frame in frames), method)[0], aligned)


@every_method
def test_the_same_frames_give_the_same_matrix(method: Registration) -> None:
    before, after = scene_pair(6)
    frames = tensor(before), tensor(shaken(after, motion(-7, 2, 1.5, after)))
    first = estimate(*frames, method)
    cv2.setRNGSeed(99)
    estimate(*frames[::-1], method)
    assert np.array_equal(estimate(*frames, method), first)


@every_method
def test_nothing_to_align_by_is_implausible(method: Registration) -> None:
    rng = np.random.default_rng(0)
    grey = np.full((128, 160, 3), 120, np.uint8)
    noise = [np.clip(120 + 3 * rng.standard_normal(grey.shape), 0, 255).astype(np.uint8) for _ in range(2)]
    scene, _ = scene_pair(0)
    for before, after in ((grey, grey), (grey, grey + 20), noise, (grey * 0, scene), (scene, grey)):
        before, after = tensor(before), tensor(after)
        aligned, success = align(before, after, method)
        assert not success
        assert aligned is before


@every_method
@settings(max_examples=10)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 3))
def test_small_frames_of_noise_do_no_harm(method: Registration, height: int, width: int, shift: int) -> None:
    before = np.random.default_rng(shift).integers(0, 255, (height, width, 3), np.uint8)
    aligned, _ = align(tensor(before), tensor(np.roll(before, shift, 1)), method)
    assert aligned.shape == (3, height, width)


@every_method
def test_another_scene_or_a_turned_camera_is_implausible(method: Registration) -> None:
    before, after = scene_pair(1)
    for number in range(10, 15):
        assert estimate(tensor(before), tensor(scene_pair(number)[1]), method) is None
    for far in (motion(40, 0, 0, after), motion(0, 0, 15, after), motion(0, -30, 0, after)):
        frame = tensor(shaken(after, far))
        assert estimate(tensor(before), frame, method) is None
        assert align(tensor(before), frame, method)[1] is False


def test_orb_follows_a_zoom_and_refuses_a_large_one() -> None:
    before, after = scene_pair(8)
    for zoom, plausible in ((1.04, True), (1.25, False)):
        true = cv2.getRotationMatrix2D((79.5, 63.5), 0.5, zoom)
        found = estimate(tensor(before), tensor(shaken(after, true)), Registration.orb)
        assert (found is not None) == plausible
        if plausible:
            assert corner_error(found, true, after) < 0.5


def test_none_aligns_nothing() -> None:
    before, after = (tensor(frame) for frame in scene_pair(0))
    aligned, success = align(before, after, Registration.none)
    assert aligned is before
    assert success
    assert np.array_equal(estimate(before, after, Registration.none), IDENTITY)


@pytest.mark.skipif(not PETS.is_dir(), reason="the real data is not on this machine")
@every_method
def test_a_shake_of_a_real_camera_is_found(method: Registration) -> None:
    before, after = (read_image(PETS / name) for name in ("000000.jpg", "000090.jpg"))
    frame = after.permute(1, 2, 0).numpy()
    true = motion(-6.4, 7.7, 1.8, frame)
    assert corner_error(estimate(before, tensor(shaken(frame, true)), method), true, frame) < 0.3
    assert align(before, after, method)[0] is before
