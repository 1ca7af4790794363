"""Adapters: new layers that add nothing at first, inside a DETR whose own tensors keep their names."""

import re
from typing import Any

from torch import Tensor, nn

# The first convolution after the backbone, for each level.
INPUT = re.compile(r"model\.(input_projection|(input_proj|encoder_input_proj)\.\d+\.0)$")
CLASS_HEAD = re.compile(r"(class_labels_classifier|(model\.decoder\.)?class_embed\.\d+)$")
BOX_HEAD = re.compile(r"(bbox_predictor|(model\.decoder\.)?bbox_embed\.\d+)\.layers\.0$")


class Residual(nn.Module):
    """x + last(relu(first(x))); last is zero at first (Houlsby et al. 2019, arXiv:1902.00751).

    Args:
        first: Any layer.
        last: From its output back to the shape of its input.
    """

    def __init__(self, first: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.last = last
        for parameter in last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Tensor:
        """From and to [..., C] for linear layers, [B, C, H, W] for convolutions."""
        added: Tensor = self.last(self.first(features).relu())
        return features + added


class AdaptedConv2d(nn.Conv2d):
    """A convolution with an adapter before it."""

    adapter: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, H, W] to [B, D, H', W']."""
        return super().forward(self.adapter(input))


class AdaptedLinear(nn.Linear):
    """A linear layer with an adapter before it."""

    adapter: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        """[..., C] to [..., D]."""
        return super().forward(self.adapter(input))


def adapt_input(detr: nn.Module, channels: int, kernel: int) -> None:
    """Put an adapter between the backbone and the transformer, one for each level.

    Args:
        detr: The model; changed in place.
        channels: Between its two convolutions.
        kernel: Size of the first, odd; the second is 1x1.
    """
    for convolution in _matching(detr, INPUT):
        width = convolution.in_channels
        first = nn.Conv2d(width, channels, kernel, padding=kernel // 2)
        # The class changes and not the module: its weights stay where they are, under their names.
        convolution.__class__ = AdaptedConv2d
        convolution.adapter = Residual(first, nn.Conv2d(channels, width, 1))


def adapt_heads(detr: nn.Module, class_layers: int, box_layers: int, inside: int | None = None) -> None:
    """Put residual layers before the heads of the decoder; heads that share weights share them.

    Args:
        detr: The model; changed in place.
        class_layers: How many before the class head.
        box_layers: How many before the box head.
        inside: Their width; None: that of the head's input.
    """
    for pattern, layers in ((CLASS_HEAD, class_layers), (BOX_HEAD, box_layers)):
        made: dict[int, nn.Module] = {}
        for linear in _matching(detr, pattern) if layers else ():
            if id(linear.weight) not in made:
                width = linear.in_features
                hidden = inside or width
                parts = (Residual(nn.Linear(width, hidden), nn.Linear(hidden, width)) for _ in range(layers))
                made[id(linear.weight)] = nn.Sequential(*parts)
            linear.__class__ = AdaptedLinear
            linear.adapter = made[id(linear.weight)]


def _matching(detr: nn.Module, pattern: re.Pattern[str]) -> list[Any]:
    found = [module for name, module in detr.named_modules() if pattern.match(name)]
    if not found:
        raise ValueError(f"{type(detr).__name__} has no module {pattern.pattern}")
    return found
