"""From the bytes of samples to the numbers that a model takes, on the device where it runs."""

import math

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
    sizes = [input_size(processor, *target["size"].tolist()) for target in samples.targets]
    height, width = (
        math.ceil(max(side) / samples.multiple) * samples.multiple for side in zip(*sizes, strict=True)
    )
    first = samples.images[0]
    shape = len(sizes), first.shape[0], height, width
    # Convolutions are faster on this layout.
    images = torch.empty(shape, device=first.device, memory_format=torch.channels_last)
    whole = set(sizes) == {(height, width)}
    if not whole:
        images.zero_()
    masks = None if whole else torch.zeros(len(sizes), height, width, dtype=torch.bool, device=first.device)
    for row, (image, size) in enumerate(zip(samples.images, sizes, strict=True)):
        place = slice(size[0]), slice(size[1])
        images[row, :, *place] = _normalised(resized(image[None], size, processor), processor)
        if masks is not None:
            masks[row, *place] = True
    return Batch(images, masks, samples.targets, samples.window)


def _normalised(images: Tensor, processor: ImageProcessor) -> Tensor:
    """uint8 [1, C, H, W], C a multiple of 3, to float [C, H, W]."""
    pixels: Tensor = processor.rescale_and_normalize(
        images.unflatten(1, (-1, 3)).flatten(0, 1),
        processor.do_rescale,
        processor.rescale_factor,
        processor.do_normalize,
        processor.image_mean,
        processor.image_std,
    )
    return pixels.flatten(0, 1)
