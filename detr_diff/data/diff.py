"""The difference of two frames, as an image. Pure functions on uint8 [3, H, W] tensors."""

import torch
from torch import Tensor

from detr_diff.choices import Diff


def diff_image(before: Tensor, after: Tensor, diff: Diff) -> Tensor:
    """Compare two frames.

    Args:
        before: uint8 [3, H, W].
        after: uint8 [3, H, W].
        diff: abs, signed or stack.

    Returns:
        uint8 [C, H, W]; C is 9 for stack and 3 for the others.
    """
    return {Diff.abs: abs_diff, Diff.signed: signed_diff, Diff.stack: stack_diff}[diff](before, after)


def abs_diff(before: Tensor, after: Tensor) -> Tensor:
    """|after - before| per channel; 0 where nothing changed."""
    return (after.to(torch.int16) - before).abs().to(torch.uint8)


def signed_diff(before: Tensor, after: Tensor) -> Tensor:
    """Half of (after - before) around mid-grey: 128 where nothing changed, brighter where the
    later frame is brighter."""
    return ((after.to(torch.int16) - before).div(2, rounding_mode="trunc") + 128).to(torch.uint8)


def stack_diff(before: Tensor, after: Tensor) -> Tensor:
    """Before, after and |after - before| as nine channels."""
    return torch.cat([before, after, abs_diff(before, after)])
