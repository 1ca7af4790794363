"""Camera-motion compensation: the before frame as if taken with the camera of the after frame.

The motion is estimated on reduced grey images and applied at full size. Boxes are never moved: they
are those of the after frame's camera.
"""

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from detr_diff.choices import Registration
from detr_diff.data.camera_motion import (
    Image,
    Matrix,
    by_ecc,
    by_orb,
    by_phase,
    rescaled,
    resizing,
    texture,
    warped,
)

METHODS = {Registration.phase: by_phase, Registration.ecc: by_ecc, Registration.orb: by_orb}

LONGEST = 480  # longer side of the reduced images, in pixels
SMALLEST = 32  # their shorter side, at least; less is not enough to tell the motion by
MAX_SHIFT = 0.15  # of the frame's centre, as share of the shorter side
MAX_ROTATION = 8.0  # degrees
MAX_ZOOM = 0.1
STILL = 0.1  # a motion of less than so many pixels is within the error of the estimate
SMALL = 1.0  # pixels of the reduced image; such a motion changes the agreement little
BETTER = 0.95  # difference after over before alignment, at most, for a small motion
MUCH_BETTER = 0.8  # and for a large one: two wrong alignments also differ by a few per cent


def align(before: Tensor, after: Tensor, method: Registration) -> tuple[Tensor, bool]:
    """Move `before` to the camera position of `after`.

    Args:
        before: uint8 [3, H, W], RGB.
        after: uint8 [3, H, W], RGB, of the same size.
        method: How the motion is estimated; with none nothing is done.

    Returns:
        uint8 [3, H, W]: `before`, moved, and whether it is aligned. What the camera did not see has
        the pixels of `after`, so that every diff is 0 there. When the camera stood still it is
        `before` itself, and True; when the estimate is implausible, `before` itself, and False.
    """
    matrix = estimate(before, after, method)
    if matrix is None:
        return before, False
    if np.array_equal(matrix, np.eye(2, 3)):
        return before, True
    height, width = before.shape[1:]
    # Four channels are warped faster than three: 12 against 20 ms for 1920x1080 (OpenCV 5).
    padded = cv2.cvtColor(_pixels(before), cv2.COLOR_RGB2RGBA)
    padded = cv2.warpAffine(padded, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    moved = cv2.cvtColor(padded, cv2.COLOR_RGBA2RGB)
    # One pixel inside the edge, so that no pixel is interpolated with the continued edge.
    seen = np.round(_corners(width, height, 1) @ matrix.T).astype(np.int32)
    unseen = cv2.fillConvexPoly(np.ones((height, width), np.uint8), seen, 0)
    return torch.from_numpy(cv2.copyTo(_pixels(after), unseen, moved)).permute(2, 0, 1), True


def estimate(before: Tensor, after: Tensor, method: Registration) -> npt.NDArray[np.float64] | None:
    """Find the camera motion between two frames.

    Args:
        before: uint8 [3, H, W], RGB.
        after: uint8 [3, H, W], RGB, of the same size.
        method: How; phase and ecc find shift and rotation, orb also zoom.

    Returns:
        Affine matrix [2, 3] that maps pixel coordinates (x, y, 1) of `before` to those of `after`,
        the centre of the first pixel being (0, 0). Exactly the identity when the camera stood
        still. None when the estimate is implausible: the motion is too large, or the aligned
        frames do not agree better.
    """
    identity = np.eye(2, 3)
    if method is Registration.none:
        return identity
    height, width = before.shape[1:]
    factor = min(1.0, LONGEST / max(height, width))
    size = (round(width * factor), round(height * factor))
    if min(size) < SMALLEST:
        return None
    reduced_before, reduced_after = (reduced_texture(frame, size) for frame in (before, after))
    try:
        reduced = METHODS[method](reduced_before, reduced_after)
    except cv2.error:  # ECC says so when it does not converge
        return None
    if reduced is None or not _possible(reduced, size):
        return None
    matrix = rescaled(reduced, np.linalg.inv(resizing((width, height), size)))
    if _motion(matrix, width, height) < STILL:
        return identity
    ratio = _difference_ratio(reduced_before, reduced_after, reduced)
    if _motion(reduced, *size) < SMALL:
        return matrix if ratio < BETTER else identity
    return matrix if ratio < MUCH_BETTER else None


def _possible(matrix: Matrix, size: tuple[int, int]) -> bool:
    """Whether a camera that is meant to stand still can have moved so far."""
    if not np.isfinite(matrix).all():
        return False
    centre = np.array([(size[0] - 1) / 2, (size[1] - 1) / 2])
    shift = np.linalg.norm(matrix @ [*centre, 1] - centre)
    zoom = np.hypot(matrix[0, 0], matrix[1, 0])
    rotation = np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))
    return bool(
        shift <= MAX_SHIFT * min(size) and abs(rotation) <= MAX_ROTATION and abs(zoom - 1) <= MAX_ZOOM
    )


def _difference_ratio(before: Image, after: Image, matrix: Matrix) -> float:
    """Median absolute difference of the aligned textures over that of the textures as they are.

    Of the pixels that both cameras saw. A median: the moved objects are the minority.
    """
    every_second = np.s_[::2, ::2]
    seen = (cv2.warpAffine(np.ones_like(before), matrix, before.shape[::-1]) > 0.999)[every_second]
    aligned = np.median(cv2.absdiff(warped(before, matrix), after)[every_second][seen])
    unaligned = np.median(cv2.absdiff(before, after)[every_second][seen])
    return float(aligned / unaligned) if unaligned > 0 else 1.0


def corner_paths(matrix: Matrix, width: int, height: int) -> Matrix:
    """How the corners of a frame move, (x, y) in pixels, [4, 2]; `matrix` as of `estimate`."""
    corners = _corners(width, height, 0)
    return corners @ matrix.T - corners[:, :2]


def _motion(matrix: Matrix, width: int, height: int) -> float:
    """Mean distance in pixels that the corners of the frame move."""
    return float(np.linalg.norm(corner_paths(matrix, width, height), axis=1).mean())


def _corners(width: int, height: int, inside: int) -> Matrix:
    """Corner pixels (x, y, 1) of a frame, [4, 3], so many pixels inside, clockwise."""
    left, top, right, bottom = inside, inside, width - 1 - inside, height - 1 - inside
    return np.array([[left, top, 1.0], [right, top, 1], [right, bottom, 1], [left, bottom, 1]])


def _pixels(frame: Tensor) -> npt.NDArray[np.uint8]:
    """uint8 [H, W, 3]; no copy for a frame of `read_image`."""
    return np.ascontiguousarray(frame.permute(1, 2, 0).numpy())


def reduced_texture(frame: Tensor, size: tuple[int, int]) -> Image:
    """The texture of a frame uint8 [3, H, W] that is shrunk to (width, height), see `texture`."""
    grey = cv2.cvtColor(_pixels(frame), cv2.COLOR_RGB2GRAY)
    return texture(cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32))
