"""From the bytes of samples to the numbers that a model takes, on the device where it runs."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from detr_diff.data.batch import Batch, Samples
from detr_diff.data.resizing import ImageProcessor, input_size, resized


def batched(samples: Samples, processor: ImageProcessor) -> Batch:
    """Enlarge, rescale and normalise images as the model's image processor does, and pad them.

    Small bytes are a fraction of what large floats are on their way from a loading process to a
    GPU, so it is done at its end.

    Args:
        samples: On the device, but for the sizes.
        processor: Of the model.
    """
    targets = samples.targets
    frames = [tuple(target["size"].tolist()) for target in targets]
    known = {frame: input_size(processor, *frame) for frame in set(frames)}  # it takes a tenth of a ms
    sizes = [known[frame] for frame in frames]
    height, width = (
        math.ceil(max(side) / samples.multiple) * samples.multiple for side in zip(*sizes, strict=True)
    )
    whole, shares = set(sizes) == {(height, width)}, None
    if not whole:
        shares = torch.tensor(sizes) / torch.tensor([height, width])
    if samples.kept is not None:
        nothing = torch.empty(len(sizes), 0, height, width, device=samples.kept[0].device)
        return Batch(nothing, None, targets, samples.window, samples.kept, shares)
    first = samples.images[0]
    shape = len(sizes), first.shape[0], height, width
    # Convolutions are faster on this layout.
    images = torch.empty(shape, device=first.device, memory_format=torch.channels_last)
    if not whole:
        images.zero_()
    masks = None if whole else torch.zeros(len(sizes), height, width, dtype=torch.bool, device=first.device)
    for rows, some in _alike(samples.images, sizes):
        size = sizes[rows.start]
        place = slice(size[0]), slice(size[1])
        images[rows, :, *place] = _normalised(resized(some, size, processor), processor)
        if masks is not None:
            masks[rows, *place] = True
    return Batch(images, masks, targets, samples.window, shares=shares)


def _alike(
    images: Sequence[Tensor] | Tensor, sizes: Sequence[tuple[int, int]]
) -> Iterator[tuple[slice, Tensor]]:
    """Images [B, C, h, w] that get the same size, and where they are in the batch."""
    if isinstance(images, Tensor) and len(set(sizes)) == 1:
        yield slice(0, len(images)), images
        return
    for row, image in enumerate(images):
        yield slice(row, row + 1), image[None]


def _normalised(images: Tensor, processor: ImageProcessor) -> Tensor:
    """uint8 [B, C, H, W], C a multiple of 3, to float [B, C, H, W]."""
    pixels: Tensor = processor.rescale_and_normalize(
        images.unflatten(1, (-1, 3)).flatten(0, 1),
        processor.do_rescale,
        processor.rescale_factor,
        processor.do_normalize,
        processor.image_mean,
        processor.image_std,
    )
    return pixels.unflatten(0, (len(images), -1)).flatten(1, 2)
