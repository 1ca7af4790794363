"""From samples to a batch: as a loader hands it over, and as the model gets it."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import default_collate, get_worker_info

Target = dict[str, Tensor]


class Contents(NamedTuple):
    """How many objects and how many samples."""

    objects: int
    samples: int


class Packed(NamedTuple):
    """Target dicts as few tensors: a batch of them on its way costs more the more tensors there are.

    Attributes:
        columns: For each key, what all targets have under it, one after the other.
        lengths: For each key, how much of that is each target's.
    """

    columns: dict[str, Tensor]
    lengths: dict[str, list[int]]

    @classmethod
    def of(cls, targets: Sequence[Target]) -> "Packed":
        """Of the targets of a batch, which have the same keys."""
        lengths = {key: [len(target[key]) for target in targets] for key in targets[0]}
        if len(targets) == 1:  # as in prediction, pair by pair: there is nothing to join
            return cls(targets[0], lengths)
        return cls({key: torch.cat([target[key] for target in targets]) for key in lengths}, lengths)

    def targets(self) -> list[Target]:
        """The dicts; their tensors are views."""
        columns = [column.split(self.lengths[key]) for key, column in self.columns.items()]
        return [dict(zip(self.columns, own, strict=True)) for own in zip(*columns, strict=True)]


class Samples(NamedTuple):
    """What a loader hands over: a batch whose images are still as they are kept.

    Attributes:
        images: uint8 [C, h, w] each; where a worker has loaded them and they are of one size, one tensor
            [B, C, h, w]. See MovedObjectDataset.
        packed: The targets, one dict a sample: boxes float [N, 4] cxcywh in [0, 1], class_labels
            int64 [N], places int64 [N] (0 before, 1 after, -1 unknown), objects int64 [N] (number, -1
            unknown), size int64 [2] (height and width of the frames in pixels), index int64 [1]
            (position in the data set), padding bool [1] (True: not to be counted); with registration
            also aligned bool [1] (False: it gave up).
        multiple: Height and width of the batch are to be multiples of it.
        window: In training, what all batches of the optimizer step hold together.
        kept: As in Batch; there are then no channels.
    """

    images: Sequence[Tensor] | Tensor
    packed: Packed
    multiple: int = 1
    window: Contents | None = None
    kept: list[Tensor] | None = None

    @property
    def targets(self) -> list[Target]:
        """One dict a sample, see `packed`."""
        return self.packed.targets()


class Batch(NamedTuple):
    """What the model gets, see `batched`.

    Attributes:
        images: float [B, C, H, W], normalised, padded at the right and at the bottom with zeros.
        masks: bool [B, H, W], True on the picture; None: nothing is padded.
        targets: One dict a sample, see Samples.
        window: As in Samples.
        kept: What the frozen part of the model made of the images, tensors [B, ...]. The images
            then have a size but no channels.
        shares: float [B, 2], which part of the height and of the width the picture is; None: all.
    """

    images: Tensor
    masks: Tensor | None
    targets: list[Target]
    window: Contents | None = None
    kept: list[Tensor] | None = None
    shares: Tensor | None = None

    def take(self, rows: Sequence[int]) -> "Batch":
        """Some of the images with their targets."""
        images = self.images[rows].contiguous(memory_format=torch.channels_last)
        masks, shares = (None if part is None else part[rows] for part in (self.masks, self.shares))
        return Batch(images, masks, [self.targets[row] for row in rows], shares=shares)


def collate(samples: Sequence[tuple[Tensor, Target]], multiple: int = 1) -> Samples:
    """Samples as they come; no pixel is copied but by a worker, which must.

    Args:
        samples: Images uint8 [C, h, w] and targets.
        multiple: Height and width of the batch are to be multiples of it.
    """
    images, targets = zip(*samples, strict=True)
    together = get_worker_info() is not None and len({image.shape for image in images}) == 1
    return Samples(default_collate(list(images)) if together else images, Packed.of(targets), multiple)


def contents(batch: Samples | Batch) -> Contents:
    """What a batch holds beside padding."""
    counted = [target for target in batch.targets if not target["padding"]]
    return Contents(sum(len(target["class_labels"]) for target in counted), len(counted))
