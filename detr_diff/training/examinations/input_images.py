"""What the model gets: the range of its input, and its objects against its features."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from detr_diff.data.batch import Batch
from detr_diff.data.finding import Finding, Level
from detr_diff.data.resizing import input_size
from detr_diff.model.block_map import BlockMap
from detr_diff.model.families import Family

LARGEST = 20.0  # of a normalised image; ImageNet's normalisation stays below 3
FLATTEST = 0.005  # standard deviation; a shift of one of 255 grey levels is 0.004


@dataclass(frozen=True)
class InputImages:
    """Figures of the images of a few pairs that have objects.

    Attributes:
        height: Of the input, in pixels.
        width: Of the input, in pixels.
        low: The smallest value.
        high: The largest value.
        spread: Standard deviation.
        normalised: Whether mean and standard deviation are taken out.
        family_normalises: Whether the family's image processor does so unless told otherwise.
        cell: Pixels of the input for each cell of the finest feature map that the model uses.
        sides: float [M], side of a square as large as each training object, in pixels of the input.
    """

    height: int
    width: int
    low: float
    high: float
    spread: float
    normalised: bool
    family_normalises: bool
    cell: int
    sides: npt.NDArray[np.float64]


def measure_input(
    detr: nn.Module, family: Family, processor: Any, batch: Batch, sides: npt.NDArray[Any]
) -> InputImages:
    """Figures of a batch.

    Args:
        detr: The model.
        family: Its DETR variant.
        processor: Its image processor.
        batch: Some pairs, as the detector takes them to its device.
        sides: [M, 2], width and height of the training objects in pixels of their frames.
    """
    height, width = input_size(processor, *batch.targets[0]["size"].tolist())
    scale = float(torch.sqrt(height * width / batch.targets[0]["size"].prod()))
    return InputImages(
        height=height,
        width=width,
        low=float(batch.images.min()),
        high=float(batch.images.max()),
        spread=float(batch.images.std()),
        normalised=bool(processor.do_normalize),
        family_normalises=bool(family.processor_class().do_normalize),
        cell=_cell(detr, family, batch),
        sides=np.sqrt(sides.astype(np.float64).prod(axis=1)) * scale,
    )


@torch.no_grad()
def _cell(detr: Any, family: Family, batch: Batch) -> int:
    """Pixels for each cell of the finest map that enters the transformer."""
    blocks = BlockMap(detr, family)
    heights: list[int] = []

    def note(module: nn.Module, inputs: Any) -> None:
        heights.append(inputs[0].shape[-2])

    hooks = [
        module.register_forward_pre_hook(note)
        for name, module in detr.named_modules()
        if isinstance(module, nn.Conv2d) and blocks.of(f"{name}.") == "input_projection"
    ]
    training = detr.training
    detr.eval()
    detr(pixel_values=batch.images[:1])
    detr.train(training)
    for hook in hooks:
        hook.remove()
    return round(batch.images.shape[-2] / max(heights, default=1))


def diagnose_input(images: InputImages, pretrained: bool) -> Iterator[Finding]:
    """Whether the input has a range that can be learnt from, and objects that can be seen.

    Args:
        images: What was measured.
        pretrained: Whether the backbone is.
    """
    if max(-images.low, images.high) > LARGEST:
        yield Finding(
            Level.problem,
            "images not normalised",
            f"the input of the model goes from {images.low:.3g} to {images.high:.3g}",
            "weights expect values of about 1; larger ones saturate the first layers",
            "leave do_rescale out of model.processor, so that values are divided by 255",
        )
    elif images.family_normalises and not images.normalised:
        yield Finding(
            Level.problem if pretrained else Level.suspicious,
            "images not normalised",
            "model.processor.do_normalize=false, but this family takes mean and standard deviation out"
            " unless told otherwise",
            "the features of a pretrained backbone are others on images in another range",
            "leave do_normalize out of model.processor",
        )
    if images.spread < FLATTEST:
        yield Finding(
            Level.problem,
            "empty input",
            f"the input of the model hardly varies (standard deviation {images.spread:.2g})",
            "there is nothing to find in it",
            "see the contact sheet: are frames too dark, or the same picture twice?",
        )
    if not len(images.sides):
        return
    median = float(np.median(images.sides))
    if median < images.cell:
        width, height = images.width, images.height
        yield Finding(
            Level.problem if median < images.cell / 2 else Level.suspicious,
            "objects smaller than a feature cell",
            f"half of the objects are smaller than {median:.1f} px in the input ({width}x{height}), a "
            f"cell of the finest feature map has {images.cell} px",
            "what is smaller than a cell is averaged away before the transformer sees it",
            "a larger model.processor.size, crops of the frames, or a model with finer features "
            "(rt_detr and deformable_detr: 8 px, detr: 32 px)",
        )
