import cv2
import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from detr_diff.choices import Diff
from detr_diff.data.diff import abs_diff, diff_image, signed_diff, stack_diff

frames = hnp.arrays(np.uint8, st.just((2, 3, 5, 7))).map(torch.from_numpy)


@given(frames)
def test_equal_frames_show_nothing(pair: Tensor) -> None:
    before = pair[0]
    assert (abs_diff(before, before) == 0).all()
    assert (signed_diff(before, before) == 128).all()
    assert (stack_diff(before, before)[6:] == 0).all()


@given(frames)
def test_swapped_frames(pair: Tensor) -> None:
    before, after = pair
    assert torch.equal(abs_diff(before, after), abs_diff(after, before))
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
