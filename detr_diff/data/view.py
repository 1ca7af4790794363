"""Whether two frames show the same view at all, where no motion of the camera has been found."""

from enum import StrEnum

import cv2
import numpy as np
from torch import Tensor

from detr_diff.data.camera_motion import Image
from detr_diff.data.registration import SMALLEST, reduced_texture

NEAR = 3  # pixels; frames that agree best within so many are of one view
# Correlations. Frames of other scenes reach 0.2 somewhere; PETS2009, moved by 60 or 120 pixels, at least 0.54
# there and at most 0.26 as it is. DeepPCB, whose bilevel pictures agree at many offsets, is told by MORE.
FOUND = 0.3
MORE = 0.1
LOST = 0.2
LEAST_TEXTURE = 0.05  # share of the pixels of a frame without which nothing can be told


class View(StrEnum):
    """What two frames show.

    same: one view, or nothing else can be shown; moved: one view, far apart; other: different views.
    """

    same = "same"
    moved = "moved"
    other = "other"


def judge(before: Tensor, after: Tensor, longest: int) -> tuple[View, float]:
    """Compare two frames at every offset up to half a frame.

    By plain correlation of their textures: a whitened one finds an offset in noise, too.

    Args:
        before: uint8 [3, H, W], RGB.
        after: uint8 [3, H, W], RGB.
        longest: Longer side in pixels to which they are shrunk.

    Returns:
        What they show, and how many pixels they are apart; 0 but for a view that has moved.
    """
    height, width = after.shape[1:]
    factor = min(1.0, longest / max(height, width))
    size = (round(width * factor), round(height * factor))
    if min(size) < SMALLEST:
        return View.same, 0.0
    textures = [reduced_texture(frame, size) for frame in (before, after)]
    if min(float((np.abs(texture) > 0.5).mean()) for texture in textures) < LEAST_TEXTURE:
        return View.same, 0.0
    surface = _correlation(*textures)
    y, x = (side // 2 for side in surface.shape)
    near = np.s_[y - NEAR : y + NEAR + 1, x - NEAR : x + NEAR + 1]
    here = float(surface[near].max())
    surface[near] = -1.0
    row, column = divmod(int(surface.argmax()), surface.shape[1])
    there = float(surface[row, column])
    if there > max(FOUND, here + MORE):
        return View.moved, float(np.hypot(row - y, column - x)) / factor
    return (View.other if here < LOST else View.same), 0.0


def _correlation(before: Image, after: Image) -> Image:
    """Of two textures at every offset (x, y) up to half a frame, offset 0 in the middle; 1 at most."""
    height, width = after.shape
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    padded = (2 * height, 2 * width)  # or what leaves the frame on one side would come in on the other
    spectra = [np.fft.rfft2(image * window, s=padded) for image in (before, after)]
    surface = np.fft.irfft2(spectra[0].conj() * spectra[1], s=padded)
    norm = float(np.linalg.norm(before * window) * np.linalg.norm(after * window))
    y, x = height // 2, width // 2
    return np.roll(surface, (y, x), (0, 1))[: 2 * y + 1, : 2 * x + 1] / norm
