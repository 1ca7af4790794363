"""How far boxes overlap that belong together."""

import torch
from torch import Tensor


def overlap(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union, plain and generalized (Rezatofighi et al. 2019, arXiv:1902.09630).

    Not torchvision's: those compute all pairs of two sets, or choose with a mask, for which the
    host waits for the device.

    Args:
        boxes: float [4, ...] cxcywh. With the coordinates first each of them lies in one piece.
        others: As `boxes`, or broadcast to them.

    Returns:
        Two float [...]; the generalized one from -1 to 1.
    """
    left, top, right, bottom = _corners(boxes)
    other_left, other_top, other_right, other_bottom = _corners(others)
    width = (torch.min(right, other_right) - torch.max(left, other_left)).clamp(min=0)
    height = (torch.min(bottom, other_bottom) - torch.max(top, other_top)).clamp(min=0)
    shared = width * height
    areas = (right - left) * (bottom - top), (other_right - other_left) * (other_bottom - other_top)
    union = areas[0] + areas[1] - shared
    iou = shared / union
    hull = (torch.max(right, other_right) - torch.min(left, other_left)) * (
        torch.max(bottom, other_bottom) - torch.min(top, other_top)
    )
    return iou, iou - (hull - union) / hull


def _corners(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, y, width, height = boxes
    return x - 0.5 * width, y - 0.5 * height, x + 0.5 * width, y + 0.5 * height
