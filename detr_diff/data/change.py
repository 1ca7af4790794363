"""Which pixels of a frame pair changed, and what boxes have to do with it."""

import cv2
import numpy as np
import numpy.typing as npt
from torch import Tensor

Array = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

LEAST_CHANGE = 16  # grey levels; less is never called a change
NEIGHBOURS = np.ones((3, 3), np.uint8)


def change(before: Tensor, after: Tensor) -> Array:
    """By how much each pixel differs from all that is within one pixel of it in the other frame.

    The distance of a value from the range of values in the 3x3 neighbourhood, the larger one of
    both directions, the largest channel. Edges of a shaken camera and weak noise give 0.

    Args:
        before: uint8 [3, H, W].
        after: uint8 [3, H, W].

    Returns:
        uint8 [H, W].
    """
    first, second = (np.ascontiguousarray(frame.permute(1, 2, 0).numpy()) for frame in (before, after))
    ranges = [(cv2.erode(frame, NEIGHBOURS), cv2.dilate(frame, NEIGHBOURS)) for frame in (first, second)]
    beyond = [
        cv2.max(cv2.subtract(frame, highest), cv2.subtract(lowest, frame))
        for frame, (lowest, highest) in zip((second, first), ranges, strict=True)
    ]
    red, green, blue = cv2.split(cv2.max(*beyond))
    return np.asarray(cv2.max(cv2.max(red, green), blue), np.uint8)


def corners(boxes: Boxes, height: int, width: int) -> npt.NDArray[np.int64]:
    """Boxes cxcywh in [0, 1] as the pixels that they touch: int64 [N, 4], x0 y0 x1 y1, end excluded."""
    scale = np.array([width, height])
    low = np.floor((boxes[:, :2] - boxes[:, 2:] / 2) * scale)
    high = np.ceil((boxes[:, :2] + boxes[:, 2:] / 2) * scale)
    return np.hstack([low.clip(0, scale), high.clip(0, scale)]).astype(np.int64)


def covered(boxes: Boxes, height: int, width: int) -> Mask:
    """Pixels that lie in a box, bool [H, W]."""
    mask = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in corners(boxes, height, width).tolist():
        mask[y0:y1, x0:x1] = True
    return mask


def explained(changed: Mask, boxes: Boxes) -> float:
    """Share of the changed pixels in the boxes, less the share of all pixels in the boxes.

    1: small boxes around all that changed; 0: no better than boxes thrown at random (the
    informedness of Youden, "Index for rating diagnostic tests", 1950, with few changed pixels).

    Args:
        changed: bool [H, W], with at least one changed pixel.
        boxes: [N, 4] cxcywh in [0, 1].
    """
    inside = covered(boxes, *changed.shape)
    return float(np.count_nonzero(changed & inside) / np.count_nonzero(changed) - inside.mean())


def unlabelled_change(amount: Array, boxes: Boxes) -> float | None:
    """Share of the strongly changed pixels that lie outside every box.

    A pixel counts when its change is at least half of the median of the strongest changes in the
    boxes. Where only one place of a moved object is labelled it is about a half.

    Args:
        amount: uint8 [H, W], see `change`.
        boxes: [N, 4] cxcywh in [0, 1].

    Returns:
        A share in [0, 1]; None without boxes or without such pixels.
    """
    peaks = [
        np.quantile(amount[y0:y1, x0:x1], 0.9)
        for x0, y0, x1, y1 in corners(boxes, *amount.shape).tolist()
        if x0 < x1 and y0 < y1
    ]
    if not peaks:
        return None
    strong = solid(amount >= max(LEAST_CHANGE, 0.5 * float(np.median(peaks))))
    outside = strong & ~covered(boxes, *amount.shape)
    return float(outside.sum() / strong.sum()) if strong.any() else None


def solid(mask: Mask) -> Mask:
    """Without what is thinner than three pixels: edges that lie a little off, single pixels."""
    return cv2.morphologyEx(mask.view(np.uint8), cv2.MORPH_OPEN, NEIGHBOURS).view(bool)
