"""Frames as small pictures inside the page, within a fixed number of bytes."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from torch import Tensor

BUDGET = 8_400_000  # bytes of all pictures; written as base64 they are a third more
MOST = 120_000  # bytes of one pair, however few there are
# Longer side and JPEG quality, from the best on; the first that fits is taken.
STEPS = (
    *((640, 85), (640, 72), (480, 75), (400, 72), (320, 75), (320, 60), (256, 60)),
    *((200, 55), (160, 50), (128, 40), (96, 30)),
)
Pixels = npt.NDArray[np.uint8]


@dataclass
class Budget:
    """Bytes that are left for the pictures of so many pairs.

    A pair that needs less leaves the rest to those after it.

    Attributes:
        pairs: How many are still to come.
        left: Bytes for all of them.
        step: Of STEPS, what fitted the pair before; the next one is alike.
    """

    pairs: int
    left: int = BUDGET
    step: int = 0

    def share(self) -> int:
        """Bytes for the pictures of the next pair."""
        return min(MOST, self.left // max(self.pairs, 1))

    def take(self, used: int) -> None:
        """Count a pair."""
        self.pairs -= 1
        self.left -= used


def thumbnails(frames: Sequence[Tensor | None], budget: Budget) -> list[str | None]:
    """The frames of a pair as data URIs, all of the same size.

    Args:
        frames: uint8 [3, H, W] each; None stays None.
        budget: Is charged with what they take.

    Returns:
        A data URI for each frame; all are None when not even the smallest pictures fit.
    """
    share = budget.share()
    present = [_pixels(frame) for frame in frames if frame is not None]
    for step in range(max(0, budget.step - 1), len(STEPS)):
        side, quality = STEPS[step]
        encoded = [_jpeg(pixels, side, quality) for pixels in present]
        if sum(map(len, encoded)) <= share:
            budget.take(sum(map(len, encoded)))
            budget.step = step
            texts = iter(_data_uris(encoded))
            return [None if frame is None else next(texts) for frame in frames]
    budget.take(0)
    return [None] * len(frames)


def _data_uris(encoded: Iterable[bytes]) -> Iterable[str]:
    return (f"data:image/jpeg;base64,{base64.b64encode(one).decode()}" for one in encoded)


def _pixels(frame: Tensor) -> Pixels:
    """[3, H, W] RGB to [H, W, 3] BGR, as OpenCV has it."""
    return np.ascontiguousarray(frame.permute(1, 2, 0).numpy()[..., ::-1])


def _jpeg(pixels: Pixels, side: int, quality: int) -> bytes:
    height, width = pixels.shape[:2]
    scale = min(1.0, side / max(height, width))
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    done, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return encoded.tobytes()
