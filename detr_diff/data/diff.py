"""The difference of two frames, as an image. Pure functions on uint8 [3, H, W] tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import torch
from torch import Tensor
from torch.nn.functional import pad

from detr_diff.choices import Diff, Registration

RADIUS = 1  # pixels around a pixel among which the tolerant diff searches
LIGHT_SAMPLE = 20_000  # pixels that the light is estimated from


@dataclass(frozen=True)
class Comparison:
    """How two frames become one image.

    Attributes:
        diff: See Diff.
        registration: How the before frame is aligned with the after frame first.
        light_compensation: Whether a global change of light is taken out of the before frame.
    """

    diff: Diff = Diff.abs
    registration: Registration = Registration.none
    light_compensation: bool = False

    @property
    def registers(self) -> bool:
        """Whether the before frame is aligned with the after frame."""
        return self.registration is not Registration.none

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Comparison":
        """From the words of a configuration or a checkpoint; other keys are left alone."""
        return cls(
            Diff(settings["diff"]), Registration(settings["registration"]), settings["light_compensation"]
        )

    def settings(self) -> dict[str, Any]:
        """Primitives, for a checkpoint."""
        return {
            "diff": str(self.diff),
            "registration": str(self.registration),
            "light_compensation": self.light_compensation,
        }


def diff_image(before: Tensor, after: Tensor, diff: Diff, light_compensation: bool = False) -> Tensor:
    """Compare two frames.

    Args:
        before: uint8 [3, H, W].
        after: uint8 [3, H, W].
        diff: See Diff.
        light_compensation: Whether to give `before` the light of `after` first.

    Returns:
        uint8 [C, H, W]; C is 9 for stack, 6 for frames and 3 for the others.
    """
    if light_compensation:
        before = compensate_light(before, after)
    return DIFFS[diff](before, after)


def abs_diff(before: Tensor, after: Tensor) -> Tensor:
    """|after - before| per channel; 0 where nothing changed."""
    # One pass where torch needs three. OpenCV drops a last side of 1.
    return torch.from_numpy(cv2.absdiff(before.numpy(), after.numpy())).view(before.shape)


def tolerant_diff(before: Tensor, after: Tensor) -> Tensor:
    """The smallest |after - before| within one pixel around, per channel.

    What a pixel of one frame shows is searched in the 3x3 neighbourhood of the other frame, and
    the other way round; the larger of the two results counts. So edges that lie one pixel off
    vanish, but a thin object that is in one frame only stays.
    """
    return torch.maximum(_nearest_diff(before, after), _nearest_diff(after, before))


def _nearest_diff(searched: Tensor, frame: Tensor) -> Tensor:
    height, width = frame.shape[1:]
    # Padding repeats the border: no value that is not in the frame is offered.
    padded = pad(searched[None].float(), (RADIUS,) * 4, mode="replicate")[0].to(torch.uint8)
    smallest = abs_diff(searched, frame)
    for y in range(2 * RADIUS + 1):
        for x in range(2 * RADIUS + 1):
            shifted = padded[:, y : y + height, x : x + width]
            torch.minimum(smallest, abs_diff(shifted, frame), out=smallest)
    return smallest


def signed_diff(before: Tensor, after: Tensor) -> Tensor:
    """Half of (after - before) around mid-grey: 128 where nothing changed, brighter where the
    later frame is brighter."""
    return ((after.to(torch.int16) - before).div(2, rounding_mode="trunc") + 128).to(torch.uint8)


def stack_diff(before: Tensor, after: Tensor) -> Tensor:
    """Before, after and |after - before| as nine channels."""
    return torch.cat([before, after, abs_diff(before, after)])


def both_frames(before: Tensor, after: Tensor) -> Tensor:
    """Before and after as six channels."""
    return torch.cat([before, after])


DIFFS = {
    Diff.abs: abs_diff,
    Diff.tolerant: tolerant_diff,
    Diff.signed: signed_diff,
    Diff.stack: stack_diff,
    Diff.frames: both_frames,
}


def diff_picture(image: Tensor, diff: Diff) -> Tensor:
    """What changed, to be looked at.

    Args:
        image: uint8 [C, H, W], of `diff_image`.
        diff: How it was made.

    Returns:
        uint8 [3, H, W]; of both frames their absolute difference.
    """
    return abs_diff(image[:3], image[3:]) if diff is Diff.frames else image[-3:]


def compensate_light(before: Tensor, after: Tensor) -> Tensor:
    """Give one frame the light of the other: gain and bias of each channel.

    A line through (before, after) of a sample of the pixels, fitted again without the pixels far
    from it until moved objects no longer pull it (trimmed least squares, Rousseeuw 1984).

    Args:
        before: uint8 [3, H, W].
        after: uint8 [3, H, W].

    Returns:
        gain * before + bias, uint8 [3, H, W]; `before` itself where nothing but single pixels
        differs, or where a channel is too uniform to tell gain from bias.
    """
    step = max(1, before[0].numel() // LIGHT_SAMPLE)
    sources = before.flatten(1)[:, ::step].double()
    targets = after.flatten(1)[:, ::step].double()
    channels = []
    for channel, source, target in zip(before, sources, targets, strict=True):
        gain, bias = _light(source, target)
        still = abs(gain - 1.0) < 1e-3 and abs(bias) < 0.1
        channels.append(channel if still else (channel.float() * gain + bias).round().clamp(0, 255))
    return torch.stack([channel.to(torch.uint8) for channel in channels])


def _light(source: Tensor, target: Tensor) -> tuple[float, float]:
    """Gain and bias of one channel."""
    bias = float((target - source).median())
    gain = 1.0
    residual = (target - source - bias).abs()
    for _ in range(4):
        # Saturated pixels say nothing about the light.
        kept = (residual <= 2.5 * 1.4826 * residual.median() + 1.0) & (target > 2) & (target < 253)
        x, y = source[kept], target[kept]
        if len(x) < 16:
            break
        spread = x.var()
        if spread < 4.0:
            return 1.0, float((y - x).median())
        gain = float(((x - x.mean()) * (y - y.mean())).mean() / ((x - x.mean()) ** 2).mean())
        bias = float(y.mean() - gain * x.mean())
        residual = (target - gain * source - bias).abs()
    return gain, bias
