"""What goes wrong between two frames, in measured doses: motion, light, noise, blur, compression, order.

The before frame is disturbed and not the after frame, whose places the labels name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from detr_diff.choices import Disturbance
from detr_diff.errors import SettingError

Frame = npt.NDArray[np.uint8]  # [H, W, 3], RGB
# The largest level that makes sense.
LARGEST = {
    Disturbance.rotation: 180.0,
    Disturbance.bias: 255.0,
    Disturbance.jpeg: 99.0,
    Disturbance.swap: 1.0,
}


@dataclass(frozen=True)
class Disturbing:
    """Disturbs frame pairs, each in the same way whenever it is asked for.

    Direction, sign and noise are a function of (seed, index) and not of the level. So a curve over
    the levels follows each pair along one line.

    Args:
        kind: What is done.
        level: How much; 0 does nothing. Its unit is told in conf/evaluate.yaml.
        seed: Of all that is random.

    Raises:
        SettingError: A level that makes no sense.
    """

    kind: Disturbance
    level: float
    seed: int

    def __post_init__(self) -> None:
        largest = LARGEST.get(self.kind, np.inf)
        if not 0 <= self.level <= largest or not np.isfinite(self.level):
            limit = f"from 0 to {largest:g}" if np.isfinite(largest) else "from 0 on"
            raise SettingError(f"disturbances.{self.kind}={self.level:g}: a number {limit}")

    def __call__(self, index: int, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        """Disturb a pair.

        Args:
            index: Of the pair.
            before: uint8 [3, H, W], RGB.
            after: uint8 [3, H, W], RGB.

        Returns:
            Before and after, uint8 [3, H, W].
        """
        if not self.level:
            return before, after
        rng = np.random.default_rng([self.seed, index])
        if self.kind is Disturbance.swap:
            return (after, before) if rng.random() < self.level else (before, after)
        frame = np.ascontiguousarray(before.permute(1, 2, 0).numpy())
        disturbed = CHANGES[self.kind](frame, self.level, rng)
        return torch.from_numpy(np.ascontiguousarray(disturbed)).permute(2, 0, 1), after


def _shift(frame: Frame, level: float, rng: np.random.Generator) -> Frame:
    direction = rng.uniform(0, 2 * np.pi)
    return _moved(frame, np.array([[1, 0, level * np.cos(direction)], [0, 1, level * np.sin(direction)]]))


def _rotation(frame: Frame, level: float, rng: np.random.Generator) -> Frame:
    height, width = frame.shape[:2]
    return _moved(
        frame, cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), _sign(rng) * level, 1.0)
    )


def _moved(frame: Frame, matrix: npt.NDArray[Any]) -> Frame:
    # Cubic: linear interpolation would also blur. What the camera did not see is reflected.
    height, width = frame.shape[:2]
    return _bytes(
        cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    )


def _gain(frame: Frame, level: float, rng: np.random.Generator) -> Frame:
    return _bytes(frame * (1 + level) ** _sign(rng))


def _bias(frame: Frame, level: float, rng: np.random.Generator) -> Frame:
    return _bytes(frame + _sign(rng) * level)


def _noise(frame: Frame, level: float, rng: np.random.Generator) -> Frame:
    return _bytes(frame + level * rng.standard_normal(frame.shape))


def _blur(frame: Frame, level: float, rng: np.random.Generator) -> Frame:
    return _bytes(cv2.GaussianBlur(frame, (0, 0), level, borderType=cv2.BORDER_REFLECT))


def _jpeg(frame: Frame, level: float, rng: np.random.Generator) -> Frame:
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    _, file = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, round(100 - level)])
    pixels = cv2.imdecode(file, cv2.IMREAD_COLOR_RGB)
    assert pixels is not None
    return _bytes(pixels)


def _sign(rng: np.random.Generator) -> float:
    return 1.0 if rng.random() < 0.5 else -1.0


def _bytes(pixels: npt.NDArray[Any]) -> Frame:
    return np.rint(pixels).clip(0, 255).astype(np.uint8)


CHANGES: dict[Disturbance, Callable[[Frame, float, np.random.Generator], Frame]] = {
    Disturbance.shift: _shift,
    Disturbance.rotation: _rotation,
    Disturbance.gain: _gain,
    Disturbance.bias: _bias,
    Disturbance.noise: _noise,
    Disturbance.blur: _blur,
    Disturbance.jpeg: _jpeg,
}
