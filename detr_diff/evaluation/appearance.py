"""What an object looks like, from a box in one frame, with the other frame to take the background out."""

import cv2
import numpy as np
import numpy.typing as npt

from detr_diff.evaluation.record import Floats

Frame = npt.NDArray[np.uint8]

SIDE = 24  # pixels that the longer side of a box is made smaller to
LEVELS = 5  # of each colour channel
PARTS = 2  # upper and lower half: coat and trousers
CHANGED = 24.0  # difference of grey levels from which on a pixel is all object
FAINT = 0.02  # weight of a pixel without change, so that no box is without weight


def appearance(own: Frame, other: Frame, boxes: Floats) -> Floats:
    """Describe what stands in boxes of a frame by the colours of its parts.

    The camera stands still. So where an object is in one frame, the other frame shows the ground
    behind it, and a pixel belongs to the object as far as it differs. Colours are counted in each
    half of the box, with those weights, and spread over neighbouring levels. The product of the
    roots of two such histograms is their Bhattacharyya coefficient; it does not change when the
    object looks the other way.

    Args:
        own: The frame in which the objects stand in these boxes, uint8 [H, W, 3].
        other: The other frame, aligned with it, uint8 [H, W, 3].
        boxes: [N, 4], xyxy in pixels.

    Returns:
        [N, D] of length 1; all 0 for a box that lies outside the picture.
    """
    height, width = own.shape[:2]
    result = np.zeros((len(boxes), PARTS * LEVELS**3))
    low = np.floor(np.maximum(boxes[:, :2], 0)).astype(int)
    high = np.ceil(np.minimum(boxes[:, 2:], (width, height))).astype(int)
    for row, ((x0, y0), (x1, y1)) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        if x1 > x0 and y1 > y0:
            result[row] = _describe(own[y0:y1, x0:x1], other[y0:y1, x0:x1])
    return result


def _describe(own: Frame, other: Frame) -> Floats:
    scale = SIDE / max(own.shape[:2])
    if scale < 1:
        size = max(1, round(own.shape[1] * scale)), max(PARTS, round(own.shape[0] * scale))
        own = cv2.resize(own, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
        other = cv2.resize(other, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    change = np.abs(own.astype(float) - other).mean(axis=2)
    weights = np.clip(change / CHANGED, FAINT, 1.0)
    parts = np.arange(len(own)) * PARTS // len(own)
    colours = own.reshape(-1, 3) / 255 * (LEVELS - 1)
    lower = np.minimum(colours.astype(int), LEVELS - 2)
    upper_share = colours - lower
    counts = np.zeros(PARTS * LEVELS**3)
    part = np.repeat(parts, own.shape[1])
    for corner in np.ndindex(2, 2, 2):
        share = np.where(corner, upper_share, 1 - upper_share).prod(axis=1)
        levels = lower + corner
        cells = ((part * LEVELS + levels[:, 0]) * LEVELS + levels[:, 1]) * LEVELS + levels[:, 2]
        counts += np.bincount(cells, weights.ravel() * share, minlength=len(counts))
    return np.sqrt(counts / counts.sum())
