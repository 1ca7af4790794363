"""From a frame pair to an image and a target."""

import hashlib
import math
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torchvision
import transformers
from torch import Tensor
from torch.utils.data import Dataset

import detr_diff
from detr_diff.data.augment import NO_AUGMENTATION, Sample, Strength, augment
from detr_diff.data.batch import Target
from detr_diff.data.diff import Comparison, diff_image, diff_picture
from detr_diff.data.disturbance import Disturbing
from detr_diff.data.frame_cache import FrameCache, Frames
from detr_diff.data.image import REDUCED, read_image
from detr_diff.data.labelled_pairs import LabelledPairs
from detr_diff.data.registration import align
from detr_diff.data.resizing import ImageProcessor, input_size, resized
from detr_diff.data.sampler import SampleKey, seed_for
from detr_diff.errors import UserError

PREPARED_BY = (cv2, torchvision, transformers, detr_diff)


class MovedObjectDataset(Dataset[tuple[Tensor, Target]]):
    """Diff images and targets of frame pairs.

    A sample goes this way: decode, align, shrink to the size of the model's input (these three can
    be cached), augment, compare. What is smaller than that size stays so until it is on the device
    (see `batched`): fewer bytes to keep, to load and to move. The transformers image processor of
    the model does all resizing.

    Args:
        pairs: The frame pairs and their objects.
        comparison: How two frames become one image.
        processor: The image processor of the model.
        strength: How far the pairs are varied.
        reversible: Whether the labels stay right when the frames are swapped.
        seed: Augmentation is a function of (seed, epoch, position).
        max_objects: An image never gets more objects than this by augmentation.

    Attributes:
        keeps_diff: Whether frames are compared already when they are prepared, which spares a cache
            half of the bytes; only where no epoch varies them.
    """

    def __init__(
        self,
        pairs: LabelledPairs,
        comparison: Comparison,
        processor: ImageProcessor,
        strength: Strength = NO_AUGMENTATION,
        *,
        reversible: bool = False,
        seed: int = 0,
        max_objects: int | None = None,
    ) -> None:
        self.pairs = pairs
        self.comparison = comparison
        self.processor = processor
        self.strength = strength
        self.reversible = reversible
        self.seed = seed
        self.max_objects = max_objects
        self.cache: FrameCache | None = None
        self.keeps_diff = False
        self.disturbing: Disturbing | None = None

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: SampleKey | int) -> tuple[Tensor, Target]:
        """One sample.

        Args:
            key: A position, or a SampleKey; its epoch chooses the augmentation.

        Returns:
            Image uint8 [C, h, w] and target dict, see Samples.
        """
        epoch, index, padding = key if isinstance(key, tuple) else SampleKey(0, key)
        frames = self._frames(index)
        sample = self._sample(index, frames.pixels)
        if self.strength != NO_AUGMENTATION:
            generator = torch.Generator().manual_seed(seed_for(self.seed, epoch, index))
            full = self.max_objects is not None and len(sample.boxes) >= self.max_objects
            sample = augment(
                sample,
                self.strength,
                generator,
                reversible=self.reversible,
                donor=None if full else partial(self._donor, generator),
            )
        image = self._compare(sample.frames)
        target = self._target(sample, index, padding, frames.aligned)
        return image, target

    def target(self, key: SampleKey | int, aligned: bool) -> Target:
        """The target dict of a sample without augmentation, when its image is not needed.

        Args:
            key: As for a sample.
            aligned: Whether its frames could be aligned.
        """
        _, index, padding = key if isinstance(key, tuple) else SampleKey(0, key)
        return self._target(self._sample(index, torch.empty(0)), index, padding, aligned)

    def _target(self, sample: Sample, index: int, padding: bool, aligned: bool) -> Target:
        if (wrong := _wrong_boxes(sample.boxes, self.max_objects)) is not None:
            raise UserError(f"{self.pairs[index].pair.name}: {wrong}")
        target = {
            "boxes": sample.boxes,
            "class_labels": sample.class_labels,
            "places": sample.places,
            "objects": sample.objects,
            # By NumPy: torch makes a tensor of a list in a multiple of the time.
            "size": torch.from_numpy(self.pairs.size(index)),
            "index": torch.from_numpy(np.array([index])),
            "padding": torch.from_numpy(np.array([padding])),
        }
        if self.comparison.registers:
            target["aligned"] = torch.tensor([aligned])
        return target

    def prepare(self, index: int) -> Frames:
        """Decode, align and shrink the frames of a pair, and perhaps compare them; what a cache keeps."""
        pair = self.pairs[index]
        full = pair.height, pair.width
        height, width = input_size(self.processor, *full)
        size = min(height, pair.height), min(width, pair.width)
        before, after = self._read(index, self._reduction(full, size))
        aligned = True
        if before is not None:
            before, aligned = align(before, after, self.comparison.registration)
        frames = [after] if before is None else [before, after]
        pixels = torch.cat([self._resize(frame, size) for frame in frames]).contiguous()
        return Frames(self._compare(pixels)[None] if self.keeps_diff else pixels, aligned)

    def _resize(self, frame: Tensor, size: tuple[int, int]) -> Tensor:
        # Not before: the layout in which frames are read resizes four times faster.
        return resized(frame[None], size, self.processor)

    def _reduction(self, full: tuple[int, int], wanted: tuple[int, int]) -> int:
        """The largest reduction at which a JPEG can be decoded and still be resized downwards."""
        if self.comparison.registers or self.disturbing is not None:
            return 1  # both work on whole frames
        fitting = (
            k for k in REDUCED if all(math.ceil(a / k) >= b for a, b in zip(full, wanted, strict=True))
        )
        return max(fitting, default=1)

    def recipe(self) -> dict[str, Any]:
        """All that prepared frames depend on beside their files, as primitives."""
        return {
            "resizing": "shrunk, never enlarged",
            "processor": self.processor.to_dict(),
            "registration": str(self.comparison.registration),
            # Frames that were aligned before flat parts had a texture are others.
            **({"texture": "of flat parts, too"} if self.comparison.registers else {}),
            "jpeg": "reduced" if not self.comparison.registers else "whole",
            "versions": {library.__name__: library.__version__ for library in PREPARED_BY},
        }

    def contents(self) -> npt.NDArray[np.int64]:
        """What the prepared frames of each pair are made from, int64 [N], beside the recipe."""
        contents = self.pairs.contents[self.pairs.rows]
        if not self.keeps_diff:
            return contents
        compared = hashlib.sha256(repr(self.comparison).encode()).digest()
        return contents ^ np.frombuffer(compared, np.int64, 1)

    def sizes(self) -> set[tuple[int, int]]:
        """Heights and widths that the model takes the frames in; two of them where there are more."""
        found: set[tuple[int, int]] = set()
        for height, width in np.unique(self.pairs.sizes[self.pairs.rows], axis=0).tolist():
            found.add(input_size(self.processor, height, width))
            if len(found) > 1:
                break
        return found

    def image(self, index: int) -> Tensor:
        """The diff image in the size of the frames, uint8 [C, H, W], to be looked at."""
        return self._aligned(index)[2]

    def frames(self, index: int) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """Before as it was aligned, after and diff, uint8 [3, H, W] each, to be looked at.

        Of a ready diff image there are no frames.
        """
        before, after, image = self._aligned(index)
        if before is None:
            return None, None, image[-3:]
        return before, after, diff_picture(image, self.comparison.diff)

    def _aligned(self, index: int) -> tuple[Tensor | None, Tensor, Tensor]:
        before, after = self._read(index)
        if before is None:
            return None, after, after
        before, _ = align(before, after, self.comparison.registration)
        return before, after, self._compare(torch.stack([before, after]))

    def _frames(self, index: int) -> Frames:
        kept = self.cache.get(index) if self.cache is not None else None
        return self.prepare(index) if kept is None else kept

    def _sample(self, index: int, frames: Tensor) -> Sample:
        labels = self.pairs.labels(index)
        columns = (labels.boxes, labels.class_labels, labels.places, labels.objects)
        return Sample(frames, *map(torch.from_numpy, columns))

    def _donor(self, generator: torch.Generator) -> Sample:
        index = int(torch.randint(len(self.pairs), (), generator=generator))
        return self._sample(index, self._frames(index).pixels)

    def _read(self, index: int, reduction: int = 1) -> tuple[Tensor | None, Tensor]:
        """Before (None of a ready diff image) and after, uint8 [3, H, W]."""
        pair = self.pairs[index].pair
        before = None if pair.before is None else read_image(pair.before, reduction)
        after = read_image(pair.after, reduction)
        if before is None or self.disturbing is None:
            return before, after
        return self.disturbing(index, before, after)

    def _compare(self, frames: Tensor) -> Tensor:
        if len(frames) == 1:
            return frames[0]
        before, after = frames
        return diff_image(before, after, self.comparison.diff, self.comparison.light_compensation)


def _wrong_boxes(boxes: Tensor, most: int | None) -> str | None:
    """What is wrong with the boxes that a loss would accept silently; None if nothing."""
    values = boxes.numpy()  # a fifth of the time for so few; no comparison is true of what is no number
    good = (values >= 0) & (values <= 1)
    good[:, 2:] &= values[:, 2:] > 0
    if not good.all():
        wrong = [round(value, 6) for value in values[~good.all(1)][0].tolist()]
        return f"box {wrong} (cx, cy, w, h): numbers from 0 to 1, w and h above 0"
    if most is not None and len(boxes) > most:
        return f"{len(boxes)} objects, but only {most} queries"
    return None
