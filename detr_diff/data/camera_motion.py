"""Three ways to find the camera motion between two frames. They know nothing of what is plausible.

Each takes the textures of both frames, float32 [H, W] as made by `texture`, and returns the affine
matrix [2, 3] that maps pixel coordinates of before to those of after, or None when it finds none.
"""

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[Any]  # float32 [H, W]
Matrix = npt.NDArray[Any]  # float64 [2, 3], in places [3, 3]; points are rows [N, 2]

COARSE = 128  # shorter side of the images on which the search begins, in pixels
CONSENT = 0.4  # least share of the tiles or matches that must tell the same motion
MATCHES = 12  # least number of such ORB matches
ORB_SIZE = 640  # longer side of the image that ORB works on, in pixels


def texture(grey: Image) -> Image:
    """What is left without light and contrast: about 1 standard deviation everywhere.

    Local contrast normalisation (Jarrett et al., ICCV 2009): minus the local mean, divided by the
    local standard deviation. A moved object with strong contrast weighs no more than its area.

    Args:
        grey: float32 [H, W], grey levels.
    """
    side = 2 * (max(grey.shape) // 20) + 1
    smooth = cv2.GaussianBlur(
        grey, (0, 0), 0.7
    )  # else interpolation, which averages noise, looks like success
    detail = smooth - cv2.blur(smooth, (side, side))
    # Where all is flat, rounding leaves a sum of squares below 0.
    variance = np.maximum(cv2.blur(detail * detail, (side, side)), 0)
    return detail / (cv2.sqrt(variance) + 4)


def by_phase(before: Image, after: Image) -> Matrix | None:
    """Rigid motion by phase correlation of tiles, coarse to fine.

    One correlation of the whole frames finds no rotation and follows the largest moved object. The
    shifts of many tiles show rotation, and those of moved objects are outvoted.
    """
    matrix = _coarse_motion(before, after)
    for _ in range(2):
        if matrix is not None:
            matrix = _follow(matrix, _tile_motion(warped(before, matrix), after, reach=4, whitening=0.75))
    return matrix


def by_ecc(before: Image, after: Image) -> Matrix | None:
    """Rigid motion of the largest correlation (ECC, Evangelidis and Psarakis, PAMI 2008).

    It starts from the phase correlation of tiles on small images and looks only at pixels that
    agree by then, so that moved objects do not pull.
    """
    matrix = _coarse_motion(before, after)
    for shorter in (COARSE, min(before.shape)):
        if matrix is not None:
            small_before, small_after, scale = _shrunk(before, after, shorter)
            start = rescaled(matrix, scale)
            difference = cv2.absdiff(warped(small_before, start), small_after)
            agree = (difference <= 3 * np.median(difference[::2, ::2])).astype(np.uint8)
            criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 10, 1e-3)
            _, found = cv2.findTransformECC(
                small_before, small_after, start.astype(np.float32), cv2.MOTION_EUCLIDEAN, criteria, agree, 1
            )
            matrix = rescaled(found.astype(np.float64), np.linalg.inv(scale))
    return matrix


def by_orb(before: Image, after: Image) -> Matrix | None:
    """Motion and zoom from matched ORB corners (Rublee et al., ICCV 2011) and RANSAC."""
    height, width = before.shape
    factor = ORB_SIZE / max(height, width)
    size = (round(width * factor), round(height * factor))
    # Without a pyramid: the camera hardly zooms, and corners of its lower levels are less exact.
    orb = cv2.ORB.create(nfeatures=600, nlevels=1, edgeThreshold=15, fastThreshold=7)
    found = []
    for image in (before, after):
        large = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
        found.append(orb.detectAndCompute(np.clip(128 + 60 * large, 0, 255).astype(np.uint8), None))
    (corners, bits), (other_corners, other_bits) = found
    if bits is None or other_bits is None:
        return None
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(bits, other_bits)
    origins = np.array([corners[match.queryIdx].pt for match in matches]).reshape(-1, 2)
    targets = np.array([other_corners[match.trainIdx].pt for match in matches]).reshape(-1, 2)
    near = np.linalg.norm(targets - origins, axis=1) < 0.3 * min(size)
    vote = _vote(origins[near], targets[near], 3.0)
    if vote is None or vote[1].sum() < MATCHES:
        return None
    return rescaled(vote[0], np.linalg.inv(resizing((width, height), size)))


def warped(image: Image, matrix: Matrix) -> Image:
    """The image as if taken with the camera of after; its edge is continued."""
    return cv2.warpAffine(image, matrix, image.shape[::-1], borderMode=cv2.BORDER_REPLICATE)


def resizing(size: tuple[int, int], new: tuple[int, int]) -> Matrix:
    """The matrix [3, 3] that maps pixel coordinates of an image to those of the resized one.

    Args:
        size: Width and height.
        new: Width and height after cv2.resize. The centre of the first pixel is (0, 0).
    """
    x, y = new[0] / size[0], new[1] / size[1]
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])


def rescaled(matrix: Matrix, scale: Matrix) -> Matrix:
    """The same motion in the pixel coordinates of images resized by `scale` [3, 3]."""
    return (scale @ np.vstack([matrix, [0, 0, 1]]) @ np.linalg.inv(scale))[:2]


def _follow(first: Matrix, second: Matrix | None) -> Matrix | None:
    return None if second is None else second @ np.vstack([first, [0, 0, 1]])


def _shrunk(before: Image, after: Image, shorter: int) -> tuple[Image, Image, Matrix]:
    """Both images with a shorter side of at most that many pixels, and the matrix of `resizing`."""
    height, width = before.shape
    factor = min(1.0, shorter / min(height, width))
    size = (round(width * factor), round(height * factor))
    images = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in (before, after)]
    return images[0], images[1], resizing((width, height), size)


def _coarse_motion(before: Image, after: Image) -> Matrix | None:
    small_before, small_after, scale = _shrunk(before, after, COARSE)
    matrix = _tile_motion(small_before, small_after, reach=COARSE, whitening=1.0)
    return None if matrix is None else rescaled(matrix, np.linalg.inv(scale))


def _tile_motion(before: Image, after: Image, reach: int, whitening: float) -> Matrix | None:
    """Rigid motion that most tiles of a grid agree on.

    Args:
        before: float32 [H, W].
        after: float32 [H, W].
        reach: Largest shift in pixels, at most half a tile.
        whitening: 1 is phase correlation, 0 plain correlation, between them less noise counts.
    """
    height, width = before.shape
    side = min(64, int(0.3 * min(height, width)))
    corners = [
        (x, y)
        for y in np.linspace(0, height - side, 5).astype(int)
        for x in np.linspace(0, width - side, 7).astype(int)
    ]
    tiles = [np.stack([image[y : y + side, x : x + side] for x, y in corners]) for image in (before, after)]
    origins = np.array(corners) + (side - 1) / 2
    targets = origins + _shifts(tiles[0], tiles[1], min(reach, side // 2 - 1), whitening)
    vote = _vote(origins, targets, 1.0)
    return None if vote is None else _rigid(origins[vote[1]], targets[vote[1]])


def _shifts(before: Image, after: Image, reach: int, whitening: float) -> Matrix:
    """Shift (x, y) in pixels of each of N tiles: [N, side, side] and the same to [N, 2].

    cv2.phaseCorrelate has no limit of reach and knows only whitening 1, with which the noise of
    smooth frames wins.
    """
    window, low_pass = _windows(before.shape[-1])
    spectra = [np.fft.rfft2(tiles * window) for tiles in (before, after)]
    cross = spectra[0].conj() * spectra[1]
    cross *= low_pass / (np.abs(cross) ** whitening + 1e-6)
    surface = np.roll(np.fft.irfft2(cross, s=before.shape[-2:]), (reach, reach), (-2, -1))
    surface = surface[:, : 2 * reach + 1, : 2 * reach + 1]
    inner = surface[:, 1:-1, 1:-1]
    y, x = np.divmod(inner.reshape(len(inner), -1).argmax(1), inner.shape[-1])
    rows = np.arange(len(inner))

    def vertex(dy: int, dx: int) -> Matrix:
        """Of the parabola through the peak and its neighbours."""
        low, peak, high = (surface[rows, y + 1 + k * dy, x + 1 + k * dx] for k in (-1, 0, 1))
        bend = low - 2 * peak + high
        return np.divide(low - high, 2 * bend, out=np.zeros_like(bend), where=bend < 0)

    return np.column_stack([x + vertex(0, 1), y + vertex(1, 0)]) + 1 - reach


@lru_cache(maxsize=16)
def _windows(side: int) -> tuple[Image, Image]:
    """Hanning window of a tile, and a Gaussian low pass of its spectrum."""
    frequency = np.fft.fftfreq(side)[:, None] ** 2 + np.fft.rfftfreq(side) ** 2
    return cv2.createHanningWindow((side, side), cv2.CV_32F), np.exp(-10 * frequency).astype(np.float32)


def _vote(origins: Matrix, targets: Matrix, tolerance: float) -> tuple[Matrix, npt.NDArray[np.bool_]] | None:
    """Motion and zoom that most point pairs [N, 2] agree on, and which do, bool [N]."""
    if len(origins) < 2:
        return None
    cv2.setRNGSeed(0)  # RANSAC draws: the same frames give the same matrix
    matrix, agree = cv2.estimateAffinePartial2D(origins, targets, ransacReprojThreshold=tolerance)
    if matrix is None or agree.mean() < CONSENT:
        return None
    return matrix, agree.ravel() > 0


def _rigid(origins: Matrix, targets: Matrix) -> Matrix:
    """Rotation and shift with the least squared error (Kabsch) between points [N, 2].

    Twice more without the points that are more than twice the median error away.
    """
    kept = np.ones(len(origins), bool)
    for _ in range(3):
        centre, other_centre = origins[kept].mean(0), targets[kept].mean(0)
        spread = (origins[kept] - centre).T @ (targets[kept] - other_centre)
        angle = np.arctan2(spread[0, 1] - spread[1, 0], spread[0, 0] + spread[1, 1])
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = np.column_stack([rotation, other_centre - rotation @ centre])
        errors = np.linalg.norm(origins @ rotation.T + matrix[:, 2] - targets, axis=1)
        kept = errors <= 2 * np.median(errors)
    return matrix
