import cv2
import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from detr_diff.choices import Diff
from detr_diff.data.diff import (
    abs_diff,
    compensate_light,
    diff_image,
    signed_diff,
    stack_diff,
    tolerant_diff,
)

frames = hnp.arrays(np.uint8, st.just((2, 3, 5, 7))).map(torch.from_numpy)


@given(frames)
def test_equal_frames_show_nothing(pair: Tensor) -> None:
    before = pair[0]
    assert (abs_diff(before, before) == 0).all()
    assert (tolerant_diff(before, before) == 0).all()
    assert (signed_diff(before, before) == 128).all()
    assert torch.equal(compensate_light(before, before), before)
    assert (stack_diff(before, before)[6:] == 0).all()


def test_a_thin_frame_keeps_its_shape() -> None:
    before, after = torch.zeros(2, 3, 5, 1, dtype=torch.uint8)
    for diff in Diff:
        assert diff_image(before, after, diff).shape == (diff.channels, 5, 1)


@given(frames)
def test_swapped_frames(pair: Tensor) -> None:
    before, after = pair
    assert torch.equal(abs_diff(before, after), abs_diff(after, before))
    assert torch.equal(tolerant_diff(before, after), tolerant_diff(after, before))
    there, back = signed_diff(before, after).int() - 128, signed_diff(after, before).int() - 128
    assert torch.equal(there, -back)
    stacked = stack_diff(before, after)
    assert torch.equal(stack_diff(after, before), torch.cat([stacked[3:6], stacked[:3], stacked[6:]]))


@given(frames)
def test_absolute_difference_is_that_of_opencv(pair: Tensor) -> None:
    np.testing.assert_array_equal(abs_diff(*pair).numpy(), cv2.absdiff(pair[0].numpy(), pair[1].numpy()))


@given(frames)
def test_the_sign_says_which_frame_is_brighter(pair: Tensor) -> None:
    before, after = pair
    change = after.int() - before.int()
    signed = signed_diff(before, after).int() - 128
    assert ((signed * 2 - change).abs() <= 1).all()


@given(frames)
def test_channels_and_type(pair: Tensor) -> None:
    for diff in Diff:
        image = diff_image(*pair, diff)
        assert image.dtype == torch.uint8
        assert image.shape == (diff.channels, 5, 7)


@given(frames)
def test_the_tolerant_difference_is_the_smallest_around(pair: Tensor) -> None:
    """Written again pixel by pixel."""
    before, after = pair.int()
    _, height, width = before.shape
    expected = torch.zeros_like(before)
    for y in range(height):
        for x in range(width):
            rows, columns = slice(max(0, y - 1), y + 2), slice(max(0, x - 1), x + 2)
            there = (before[:, rows, columns] - after[:, y, x, None, None]).abs().amin((1, 2))
            back = (after[:, rows, columns] - before[:, y, x, None, None]).abs().amin((1, 2))
            expected[:, y, x] = torch.maximum(there, back)
    tolerant = tolerant_diff(*pair)
    assert torch.equal(tolerant.int(), expected)
    assert (tolerant <= abs_diff(*pair)).all()


def test_edges_one_pixel_off_vanish_and_thin_objects_stay() -> None:
    before = torch.zeros(3, 20, 20, dtype=torch.uint8)
    before[:, 5:15, 5:15] = 200
    assert int(tolerant_diff(before, before.roll(1, 2))[:, 1:-1, 1:-1].max()) == 0
    thin = torch.zeros_like(before)
    thin[:, :, 10] = 200
    assert (tolerant_diff(torch.zeros_like(thin), thin)[:, :, 10] == 200).all()


@given(st.integers(0, 1000), st.floats(0.8, 1.2), st.floats(-20, 20), st.booleans())
def test_light_is_compensated(seed: int, gain: float, bias: float, moved: bool) -> None:
    rng = np.random.default_rng(seed)
    scene = cv2.GaussianBlur(rng.uniform(40, 180, (48, 64, 3)), (0, 0), 1.5)
    scene = (scene - scene.mean()) * 3 + 110
    before = np.clip(scene, 30, 190).astype(np.uint8)
    after = np.clip(before.astype(float) * gain + bias, 0, 255).round().astype(np.uint8)
    if moved:
        after[10:24, 20:34] = 255 - after[10:24, 20:34]
    pair = [torch.from_numpy(frame).permute(2, 0, 1) for frame in (before, after)]
    rest = abs_diff(compensate_light(*pair), pair[1])
    rest[:, 10:24, 20:34] = 0
    assert float(rest.float().mean()) <= 1.0
    assert int(rest.max()) <= 4


def test_uniform_frames_are_compensated_by_a_bias() -> None:
    dark, light = torch.full((2, 3, 9, 9), 100, dtype=torch.uint8).unbind()
    assert torch.equal(compensate_light(dark, light + 30), light + 30)
