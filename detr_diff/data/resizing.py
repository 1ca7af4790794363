"""The size of the model's input, and images of it."""

from typing import Any

import torch
from torch import Tensor

ImageProcessor = Any  # of transformers, which has no common type


def input_size(processor: ImageProcessor, height: int, width: int) -> tuple[int, int]:
    """Height and width in which a model takes frames of this height and width.

    Args:
        processor: The image processor of the model.
        height: Of a frame, in pixels.
        width: Of a frame, in pixels.
    """
    if not processor.do_resize:
        return height, width
    frame = torch.empty(1, 3, height, width, dtype=torch.uint8, device="meta")
    made = processor.resize(frame, size=processor.size, resample=processor.resample)
    return made.shape[-2], made.shape[-1]


def resized(images: Tensor, size: tuple[int, int], processor: ImageProcessor) -> Tensor:
    """Images in another size, as the processor makes them.

    Args:
        images: uint8 [B, C, h, w].
        size: Height and width.
        processor: Its own step of resizing is taken, not the whole of it, which copies first.

    Returns:
        uint8 [B, C, H, W].
    """
    if tuple(images.shape[-2:]) == size:
        return images
    exact = type(processor.size)(height=size[0], width=size[1])
    made: Tensor = processor.resize(images, size=exact, resample=processor.resample)
    return made
