"""From a frame pair to an image and a target, and from samples to a batch."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from detr_diff.choices import Augment, Diff
from detr_diff.data.augment import flip_and_shift
from detr_diff.data.check import LabelledPair
from detr_diff.data.diff import diff_image
from detr_diff.data.image import read_image
from detr_diff.data.sampler import SampleKey, seed_for

Target = dict[str, Tensor]
ImageProcessor = Callable[..., Any]


class Batch(NamedTuple):
    """What the model gets.

    Attributes:
        images: float [B, C, H, W], padded at the right and at the bottom with zeros.
        masks: int64 [B, H, W], 1 on the picture, 0 on the padding.
        targets: One dict a sample: boxes float [N, 4] cxcywh in [0, 1], class_labels int64 [N],
            size int64 [2] (height and width of the frames in pixels), index int64 [1] (position
            in the data set).
    """

    images: Tensor
    masks: Tensor
    targets: list[Target]


class MovedObjectDataset(Dataset[tuple[Tensor, Target]]):
    """Diff images and targets of frame pairs.

    The transformers image processor of the model does all resizing and normalising.
    """

    def __init__(
        self,
        pairs: Sequence[LabelledPair],
        diff: Diff,
        processor: ImageProcessor,
        augment: Augment = Augment.none,
        seed: int = 0,
    ) -> None:
        self.pairs = pairs
        self.diff = diff
        self.processor = processor
        self.augment = augment
        self.seed = seed

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: SampleKey | int) -> tuple[Tensor, Target]:
        """One sample.

        Args:
            key: A position, or position and epoch; the epoch chooses the augmentation.

        Returns:
            Image float [C, H, W] and target dict, see Batch.
        """
        epoch, index = key if isinstance(key, tuple) else (0, key)
        pair = self.pairs[index]
        frames = self._frames(index)
        boxes = torch.from_numpy(pair.labels.boxes)
        class_labels = torch.from_numpy(pair.labels.class_labels)
        if self.augment is Augment.light:
            generator = torch.Generator().manual_seed(seed_for(self.seed, epoch, index))
            frames, boxes, kept = flip_and_shift(frames, boxes, generator)
            class_labels = class_labels[kept]
        image = self._compare(frames)
        processed = self.processor(images=list(image.split(3)), return_tensors="pt")
        return processed["pixel_values"].flatten(0, 1), {
            "boxes": boxes,
            "class_labels": class_labels,
            "size": torch.tensor([pair.height, pair.width]),
            "index": torch.tensor([index]),
        }

    def image(self, index: int) -> Tensor:
        """The diff image before resizing and normalising, uint8 [C, H, W]."""
        return self._compare(self._frames(index))

    def _frames(self, index: int) -> Tensor:
        """Before and after as uint8 [6, H, W], or a ready diff image as uint8 [3, H, W]."""
        pair = self.pairs[index].pair
        frames = [pair.after] if pair.before is None else [pair.before, pair.after]
        return torch.cat([read_image(path) for path in frames])

    def _compare(self, frames: Tensor) -> Tensor:
        return frames if len(frames) == 3 else diff_image(frames[:3], frames[3:], self.diff)


def collate(samples: Sequence[tuple[Tensor, Target]]) -> Batch:
    """Pad images of different sizes to the largest and mark the padding."""
    images = [image for image, _ in samples]
    height = max(image.shape[1] for image in images)
    width = max(image.shape[2] for image in images)
    batch = images[0].new_zeros(len(images), images[0].shape[0], height, width)
    masks = torch.zeros(len(images), height, width, dtype=torch.int64)
    for row, image in enumerate(images):
        batch[row, :, : image.shape[1], : image.shape[2]] = image
        masks[row, : image.shape[1], : image.shape[2]] = 1
    return Batch(batch, masks, [target for _, target in samples])
