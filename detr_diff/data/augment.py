"""Variations of training pairs: both frames and the boxes move together.

Every random number comes from the generator that is handed in, so that a sample is a function of
(seed, epoch, index), whatever worker makes it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_convert
from torchvision.transforms.v2 import InterpolationMode, functional
from torchvision.tv_tensors import BoundingBoxes, Video

from detr_diff.choices import Augment

MIN_VISIBLE = 0.3  # a box that shows less than this share of its area is dropped
MARGIN = 0.2  # of a pasted object's size, around it, in which the paste fades out
PASTE_TRIES = 3


class Sample(NamedTuple):
    """Frames and objects on their way into the model.

    Attributes:
        frames: uint8 [2, 3, H, W], before and after; [1, 3, H, W] for a ready diff image.
        boxes: float [N, 4], cxcywh in [0, 1].
        class_labels: int64 [N].
        places: int64 [N], 0 old (before), 1 new (after), -1 unknown.
        objects: int64 [N], number of the object that the box is a place of, -1 unknown.
    """

    frames: Tensor
    boxes: Tensor
    class_labels: Tensor
    places: Tensor
    objects: Tensor

    def only(self, kept: Tensor) -> "Sample":
        """With some of the objects; kept is bool [N]."""
        return Sample(self.frames, *(column[kept] for column in self[1:]))


@dataclass(frozen=True)
class Strength:
    """How far a pair is varied; a value of 0, of `scale` (1, 1), leaves it out.

    Attributes:
        flip: Probability of mirroring left and right.
        scale: Smallest and largest zoom; its logarithm is uniform.
        translate: Largest shift, as a share of the size; zoomed in, any part can be seen.
        rotate: Largest rotation in degrees.
        light: Largest change of brightness and of contrast of both frames.
        own_light: The same of each frame for itself.
        noise: Largest standard deviation of the noise of each frame, in grey levels.
        blur: Probability that a frame is blurred.
        jitter: Probability that the camera moved by up to a pixel between the frames.
        reverse: Probability of swapping the frames, where the labels allow it.
        same: Probability of a frame paired with itself, in which nothing moved.
        paste: Probability of a changed place pasted in from another pair.
    """

    flip: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    translate: float = 0.0
    rotate: float = 0.0
    light: float = 0.0
    own_light: float = 0.0
    noise: float = 0.0
    blur: float = 0.0
    jitter: float = 0.0
    reverse: float = 0.0
    same: float = 0.0
    paste: float = 0.0


NO_AUGMENTATION = Strength()
STRENGTHS = {
    Augment.none: NO_AUGMENTATION,
    Augment.light: Strength(flip=0.5, translate=0.06),
    Augment.strong: Strength(
        flip=0.5,
        scale=(0.8, 2.0),
        translate=0.1,
        rotate=2.0,
        light=0.2,
        own_light=0.04,
        noise=4.0,
        blur=0.1,
        jitter=0.2,
        reverse=0.5,
        same=0.03,
        paste=0.3,
    ),
}


def augment(
    sample: Sample,
    strength: Strength,
    generator: torch.Generator,
    *,
    reversible: bool = False,
    donor: Callable[[], Sample] | None = None,
) -> Sample:
    """Vary a pair.

    Args:
        sample: The pair.
        strength: How far.
        generator: Source of the random numbers.
        reversible: Whether the labels name old and new places alike, so that they stay right
            when the frames are swapped.
        donor: Gives the pair that an object is pasted from; None: nothing is pasted.

    Returns:
        A pair of the same size. Boxes are clipped to the picture, and dropped when less than
        30 % of their area is left.
    """

    def chance(probability: float) -> bool:
        return float(torch.rand((), generator=generator)) < probability

    two = len(sample.frames) == 2
    if two and chance(strength.same):
        index = int(torch.randint(2, (), generator=generator))
        sample = sample.only(torch.zeros(len(sample.boxes), dtype=torch.bool))
        sample = sample._replace(frames=sample.frames[[index, index]])
    elif donor is not None and chance(strength.paste):
        sample = paste(sample, donor(), generator)
    if two and reversible and chance(strength.reverse):
        sample = reverse(sample)
    sample = move(sample, strength, generator)
    if two:
        frames = sample.frames
        if chance(strength.jitter):
            frames = _jitter(frames, generator)
        sample = sample._replace(frames=_photograph(frames, strength, generator))
    return sample


def reverse(sample: Sample) -> Sample:
    """Swap the frames: what was the old place of an object is now the new one."""
    places = torch.where(sample.places < 0, sample.places, 1 - sample.places)
    return sample._replace(frames=sample.frames.flip(0), places=places)


def move(sample: Sample, strength: Strength, generator: torch.Generator) -> Sample:
    """Mirror, zoom, rotate and shift both frames and the boxes by one affine map."""
    flip, zoom, turn, *shift = _uniform(5, generator)
    frames, boxes = sample.frames, sample.boxes
    if (flip + 1) / 2 < strength.flip:
        frames = functional.horizontal_flip(frames)
        boxes = torch.cat([1 - boxes[:, :1], boxes[:, 1:]], dim=1)
    height, width = frames.shape[-2:]
    smallest, largest = map(math.log, strength.scale)
    scale = math.exp(smallest + (zoom + 1) / 2 * (largest - smallest))
    reach = strength.translate + max(0.0, scale - 1) / 2
    x, y = round(shift[0] * reach * width), round(shift[1] * reach * height)
    angle = turn * strength.rotate
    if (x, y, scale, angle) == (0, 0, 1.0, 0.0):
        return sample._replace(frames=frames, boxes=boxes)
    if (scale, angle) == (1.0, 0.0):
        # Whole pixels: the same as below, twenty times sooner. What comes in is 0 in both frames.
        frames = functional.crop(Video(frames), -y, -x, height, width).as_subclass(Tensor)
    else:
        frames = functional.affine(
            Video(frames), angle, [x, y], scale, [0.0, 0.0], interpolation=InterpolationMode.BILINEAR
        ).as_subclass(Tensor)
    size = boxes.new_tensor([width, height, width, height])
    corners = BoundingBoxes(
        box_convert(boxes, "cxcywh", "xyxy") * size,
        format="XYXY",
        canvas_size=(height, width),
        clamping_mode=None,
    )
    moved = functional.affine(corners, angle, [x, y], scale, [0.0, 0.0]).as_subclass(Tensor)
    boxes, kept = clip(moved / size)
    return sample.only(kept)._replace(frames=frames, boxes=boxes)


def clip(corners: Tensor) -> tuple[Tensor, Tensor]:
    """Cut boxes at the border of the picture.

    Args:
        corners: float [N, 4], xyxy; the picture is [0, 1].

    Returns:
        Boxes [M, 4] cxcywh, and bool [N]: which still show at least 30 % of their area.
    """
    inside = corners.clamp(0, 1)
    area = (corners[:, 2:] - corners[:, :2]).prod(1)
    kept = (inside[:, 2:] - inside[:, :2]).prod(1) >= MIN_VISIBLE * area.clamp(min=1e-12)
    return box_convert(inside[kept], "xyxy", "cxcywh"), kept


def paste(sample: Sample, donor: Sample, generator: torch.Generator) -> Sample:
    """Copy a changed place of another pair into this one, in both frames at once.

    What changed there changes here in the same way, so that the label is right whichever places
    the labels name. It stays where it is in the picture, as size goes with place (Ghiasi et al.
    2021, arXiv:2012.07177, paste single objects). Nothing is pasted where it would cover objects
    or bring parts of other ones along.
    """
    if not len(donor.boxes) or donor.frames.shape != sample.frames.shape:
        return sample
    height, width = sample.frames.shape[-2:]
    size = donor.boxes.new_tensor([width, height, width, height])
    for _ in range(PASTE_TRIES):
        index = int(torch.randint(len(donor.boxes), (), generator=generator))
        corners = box_convert(donor.boxes[index], "cxcywh", "xyxy")
        margin = MARGIN * donor.boxes[index, 2:]
        region = torch.cat([corners[:2] - margin, corners[2:] + margin])
        others = torch.cat([sample.boxes, donor.boxes[:index], donor.boxes[index + 1 :]])
        if len(others) and float(_covered(others, region).max()) > 0.05:
            continue
        x0, y0, x1, y1 = (region * size).round().long().tolist()
        columns, rows = range(max(0, x0), min(width, x1)), range(max(0, y0), min(height, y1))
        alpha = _fade(rows, y0, y1)[:, None] * _fade(columns, x0, x1)
        place = (..., slice(rows.start, rows.stop), slice(columns.start, columns.stop))
        frames = sample.frames.clone()
        frames[place] = torch.lerp(frames[place].float(), donor.frames[place].float(), alpha).round().byte()
        pasted = [column[index : index + 1] for column in donor[1:]]
        pasted[-1] = torch.full_like(pasted[-1], -1)  # its other place stays behind
        return Sample(frames, *map(torch.cat, zip(sample[1:], pasted, strict=True)))
    return sample


def _covered(boxes: Tensor, region: Tensor) -> Tensor:
    """Share of each box, cxcywh [N, 4], that lies in a region, xyxy [4]."""
    corners = box_convert(boxes, "cxcywh", "xyxy")
    low = torch.maximum(corners[:, :2], region[:2])
    high = torch.minimum(corners[:, 2:], region[2:])
    return (high - low).clamp(min=0).prod(1) / boxes[:, 2:].prod(1)


def _fade(positions: range, first: int, last: int) -> Tensor:
    """Weights of these pixels of a region: 1 on the object, falling to 0 through the margin."""
    centre = torch.arange(positions.start, positions.stop) + 0.5
    margin = MARGIN / (1 + 2 * MARGIN) * (last - first)
    return (torch.minimum(centre - first, last - centre) / max(margin, 0.5)).clamp(0, 1)


def _jitter(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Move the after frame by up to a pixel; the border is repeated."""
    x, y = _uniform(2, generator)
    padded = functional.pad(frames[1], [2, 2, 2, 2], padding_mode="edge")
    shift = [x, y]
    moved = functional.affine(padded, 0.0, shift, 1.0, [0.0, 0.0], InterpolationMode.BILINEAR)
    return torch.stack([frames[0], moved[:, 2:-2, 2:-2]])


def _photograph(frames: Tensor, strength: Strength, generator: torch.Generator) -> Tensor:
    """Light of both and of each frame, blur and sensor noise."""
    if not (strength.light or strength.own_light or strength.noise or strength.blur):
        return frames
    common = _uniform(2, generator)
    result = []
    for frame in frames:
        own = _uniform(2, generator)
        gain, contrast = (
            (1 + strength.light * both) * (1 + strength.own_light * each)
            for both, each in zip(common, own, strict=True)
        )
        sigma, blurred, noise = ((value + 1) / 2 for value in _uniform(3, generator))
        pixels = frame.float()
        mean = pixels.mean()
        pixels = ((pixels - mean) * contrast + mean) * gain
        if blurred < strength.blur:
            pixels = functional.gaussian_blur(pixels, [3, 3], [0.3 + 0.7 * sigma])
        pixels += torch.randn(pixels.shape, generator=generator) * (noise * strength.noise)
        result.append(pixels.round().clamp(0, 255).byte())
    return torch.stack(result)


def _uniform(count: int, generator: torch.Generator) -> list[float]:
    """Numbers from -1 to 1."""
    return [2 * value - 1 for value in torch.rand(count, generator=generator).tolist()]
