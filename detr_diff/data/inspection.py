"""What the two frames of a pair reveal about the camera, the light and the labels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from detr_diff.choices import Registration
from detr_diff.data.diff import compensate_light
from detr_diff.data.labels import Labels
from detr_diff.data.registration import estimate, warp

Array = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]

REGISTRATION = Registration.phase
TOLERATED = 0.5  # pixels of camera shift that need no alignment here
LEAST_CHANGE = 16  # grey levels; less is never called a change
NOISE = 5.0  # a change is larger than this many times the 80 % quantile of the picture
MOST_NOISE = 48.0  # grey levels; where so much of the picture changed, it is no noise
STILL = 0.005  # a box with a smaller share of changed pixels has nothing in it
APART = 0.2  # a blob with a smaller share of its pixels in boxes lies outside
NEIGHBOURS = np.ones((3, 3), np.uint8)
GAP = np.ones((5, 5), np.uint8)  # parts of one object this near are one blob

READINGS: Mapping[str, Callable[[Boxes], Boxes]] = {
    "cy cx h w": lambda boxes: boxes[:, [1, 0, 3, 2]],
    "cy cx w h": lambda boxes: boxes[:, [1, 0, 2, 3]],
    "x y w h of the upper left corner": lambda boxes: np.hstack(
        [boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]]
    ),
    "x0 y0 x1 y1": lambda boxes: np.hstack(
        [(boxes[:, :2] + boxes[:, 2:]) / 2, np.maximum(boxes[:, 2:] - boxes[:, :2], 0)]
    ),
}
"""Ways in which the four numbers of a label may be meant other than as cx cy w h."""


@dataclass(frozen=True)
class Inspection:
    """Figures of one frame pair with N boxes.

    Attributes:
        shift: How far the camera moved at the middle of the frame, in pixels (x, y); None when
            the frames cannot be aligned.
        rotation: How far it turned, in degrees.
        gain: Light of the after frame: gain * before + bias.
        bias: In grey levels.
        light: By how many grey levels the light changed, mean of the picture.
        threshold: Grey levels above which a pixel counts as changed.
        changed: int64 [N], changed pixels in each box.
        still: bool [N], boxes under which nothing changed.
        blobs: int64 [B, 5], changed regions outside every box: x0, y0, x1, y1 in pixels and the
            number of changed pixels.
        unlabelled: Share of the strong change outside every box, see `unlabelled_change`.
        fits: How well the labels explain the change, see `explained`: as they are ("own"), read in
            another way (see READINGS), and those of other pairs; empty when nothing changed.
    """

    shift: tuple[float, float] | None
    rotation: float
    gain: float
    bias: float
    light: float
    threshold: float
    changed: npt.NDArray[np.int64]
    still: npt.NDArray[np.bool_]
    blobs: npt.NDArray[np.int64]
    unlabelled: float
    fits: dict[str, float]


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
    first, second = (frame.permute(1, 2, 0).contiguous().numpy() for frame in (before, after))
    ranges = [(cv2.erode(frame, NEIGHBOURS), cv2.dilate(frame, NEIGHBOURS)) for frame in (first, second)]
    beyond = [
        cv2.max(cv2.subtract(frame, highest), cv2.subtract(lowest, frame))
        for frame, (lowest, highest) in zip((second, first), ranges, strict=True)
    ]
    red, green, blue = cv2.split(cv2.max(*beyond))
    return cv2.max(cv2.max(red, green), blue)


def corners(boxes: Boxes, height: int, width: int) -> npt.NDArray[np.int64]:
    """Boxes cxcywh in [0, 1] as the pixels that they touch: int64 [N, 4], x0 y0 x1 y1, end excluded."""
    scale = np.array([width, height])
    low = np.floor((boxes[:, :2] - boxes[:, 2:] / 2) * scale)
    high = np.ceil((boxes[:, :2] + boxes[:, 2:] / 2) * scale)
    return np.hstack([low.clip(0, scale), high.clip(0, scale)]).astype(np.int64)


def covered(boxes: Boxes, height: int, width: int) -> npt.NDArray[np.bool_]:
    """Pixels that lie in a box, bool [H, W]."""
    mask = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in corners(boxes, height, width).tolist():
        mask[y0:y1, x0:x1] = True
    return mask


def explained(changed: npt.NDArray[np.bool_], boxes: Boxes) -> float:
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
    strong = amount >= max(LEAST_CHANGE, 0.5 * float(np.median(peaks)))
    outside = strong & ~covered(boxes, *amount.shape)
    return float(outside.sum() / strong.sum()) if strong.any() else None


def inspect(
    before: Tensor, after: Tensor, labels: Labels, others: Mapping[str, Boxes] | None = None
) -> Inspection:
    """Look at one frame pair.

    Args:
        before: uint8 [3, H, W].
        after: uint8 [3, H, W].
        labels: Its objects.
        others: Boxes of other pairs, [K, 4] cxcywh in [0, 1], to see whether they fit better.
    """
    height, width = after.shape[1:]
    matrix = estimate(before, after, REGISTRATION)
    shift, rotation = _motion(matrix, height, width) if matrix is not None else (None, 0.0)
    margin = 0
    if matrix is not None and shift is not None and np.hypot(*shift) > TOLERATED:
        before = warp(before, matrix)
        margin = int(np.ceil(np.abs(shift).max())) + 1
    lit = compensate_light(before, after)
    gain, bias, light = _light(before, lit)
    amount = change(lit, after)
    if margin:  # beyond the border of the moved frame nothing is known
        amount[:margin] = amount[-margin:] = 0
        amount[:, :margin] = amount[:, -margin:] = 0
    outside = amount[~covered(labels.boxes, height, width)]
    noise = float(np.quantile(outside, 0.8)) if outside.size else 0.0
    threshold = float(np.clip(NOISE * noise, LEAST_CHANGE, MOST_NOISE))
    changed = amount > threshold
    inside = [changed[y0:y1, x0:x1] for x0, y0, x1, y1 in corners(labels.boxes, height, width).tolist()]
    counts = np.array([np.count_nonzero(part) for part in inside], np.int64)
    readings = {"own": labels.boxes} | {name: read(labels.boxes) for name, read in READINGS.items()}
    candidates = {name: boxes for name, boxes in (readings | dict(others or {})).items() if len(boxes)}
    return Inspection(
        shift=shift,
        rotation=rotation,
        gain=gain,
        bias=bias,
        light=light,
        threshold=threshold,
        changed=counts,
        still=counts < np.array([max(3.0, STILL * part.size) for part in inside]),
        blobs=_blobs(changed, covered(labels.boxes, height, width)),
        unlabelled=unlabelled_change(amount, labels.boxes),
        fits={name: explained(changed, boxes) for name, boxes in candidates.items()} if changed.any() else {},
    )


def _motion(matrix: npt.NDArray[np.float64], height: int, width: int) -> tuple[tuple[float, float], float]:
    """Shift of the middle in pixels and rotation in degrees."""
    middle = np.array([(width - 1) / 2, (height - 1) / 2, 1.0])
    x, y = matrix @ middle - middle[:2]
    turn = np.arctan2(matrix[1, 0] - matrix[0, 1], matrix[0, 0] + matrix[1, 1])
    return (float(x), float(y)), float(np.degrees(turn))


def _light(before: Tensor, lit: Tensor) -> tuple[float, float, float]:
    """Gain, bias and mean size of the change of light that was taken out."""
    if lit is before or torch.equal(lit, before):
        return 1.0, 0.0, 0.0
    x, y = before.float().flatten(), lit.float().flatten()
    kept = (y > 0) & (y < 255)
    x, y = x[kept], y[kept]
    spread = float(x.var())
    gain = float(((x - x.mean()) * (y - y.mean())).mean()) / spread if spread else 1.0
    return gain, float(y.mean() - gain * x.mean()), float((y - x).abs().mean())


def _blobs(changed: npt.NDArray[np.bool_], inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Connected changed regions that lie outside the boxes, largest first."""
    joined = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_CLOSE, GAP)
    number, regions, stats, _ = cv2.connectedComponentsWithStats(joined)
    pixels = np.bincount(regions[changed], minlength=number)
    labelled = np.bincount(regions[changed & inside], minlength=number)
    apart = (pixels > 0) & (labelled <= APART * pixels)
    apart[0] = False  # the background
    left, top, width, height = (stats[apart, column] for column in range(4))
    blobs = np.column_stack([left, top, left + width, top + height, pixels[apart]]).astype(np.int64)
    return blobs[np.argsort(-blobs[:, 4], kind="stable")]
