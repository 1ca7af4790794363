"""Transforms that move both frames and the boxes together."""

import torch
from torch import Tensor
from torch.nn.functional import pad

MAX_SHIFT = 0.06
MIN_VISIBLE = 0.3


def flip_and_shift(
    frames: Tensor, boxes: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Mirror left and right with probability 1/2 and shift by up to 6 % of the size.

    Args:
        frames: uint8 [C, H, W]; both frames in one tensor, so that they move together.
        boxes: float [N, 4], cxcywh in [0, 1].
        generator: Source of the random numbers.

    Returns:
        Frames [C, H, W] (the border repeated where the picture moved away), boxes [M, 4] clipped
        to the picture, and bool [N], which of the boxes are still visible by at least 30 % of
        their area; M of them are.
    """
    flip, dx, dy = torch.rand(3, generator=generator).tolist()
    height, width = frames.shape[-2:]
    if flip < 0.5:
        frames = frames.flip(-1)
        boxes = torch.cat([1 - boxes[:, :1], boxes[:, 1:]], dim=1)
    x, y = round((2 * dx - 1) * MAX_SHIFT * width), round((2 * dy - 1) * MAX_SHIFT * height)
    padded = pad(frames.float(), (max(x, 0), max(-x, 0), max(y, 0), max(-y, 0)), mode="replicate")
    top, left = max(-y, 0), max(-x, 0)
    frames = padded[:, top : top + height, left : left + width].to(torch.uint8)

    centre = boxes[:, :2] + boxes.new_tensor([x / width, y / height])
    low = (centre - boxes[:, 2:] / 2).clamp(0, 1)
    high = (centre + boxes[:, 2:] / 2).clamp(0, 1)
    kept = (high - low).prod(1) >= MIN_VISIBLE * boxes[:, 2:].prod(1)
    clipped = torch.cat([(low + high) / 2, high - low], dim=1)
    return frames, clipped[kept], kept
