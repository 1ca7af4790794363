"""Convolutions with batch norm as one convolution, where the statistics stand still.

In evaluation, and where it does not learn, batch norm is a factor and a summand of each channel, which the
convolution before it can apply, too. And the two convolutions of a RepVGG block are then a single one
(Ding et al. 2021, arXiv:2101.03697): the form in which the speed of RT-DETR is told. Frozen batch norm is
another module, see folded_batch_norm.py.
"""

from functools import cache
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from detr_diff.model.folded_batch_norm import folded

# End of the name of a layer of transformers to the names of its convolution and of its batch norm.
LAYERS = {
    "ConvNormLayer": ("conv", "norm"),
    "ResNetConvLayer": ("convolution", "normalization"),
    "ResNetShortCut": ("convolution", "normalization"),
    "HGNetV2ConvLayer": ("convolution", "normalization"),
    "Sequential": ("0", "1"),  # the projections before the encoder and before the decoder
}
BEHIND = ("activation", "lab")  # what follows in a layer that has it; lab: a factor and a summand
BLOCK = "RepVggBlock"


def fold_in_evaluation(detr: nn.Module) -> int:
    """Let layers run a convolution alone where the statistics of their batch norm stand still.

    The weights are multiplied in each forward pass, so that what is learnt, saved and loaded stays as it
    was. Outputs and gradients are the same up to rounding.

    Args:
        detr: A model of transformers; changed in place.

    Returns:
        How many layers and blocks there are.
    """
    count = 0
    for module in detr.modules():
        kind: Any = type(module)
        names = next((names for end, names in LAYERS.items() if kind.__name__.endswith(end)), None)
        if names is not None and _is_layer(module, *names):
            module.__class__ = _layer(kind, *names)
            getattr(module, names[0]).__class__ = _Convolution
        elif kind.__name__.endswith(BLOCK) and hasattr(module, "conv2"):  # that of timm has other parts
            module.__class__ = _block(kind)
        else:
            continue
        count += 1
    return count


def _is_layer(module: nn.Module, conv_name: str, norm_name: str) -> bool:
    parts = dict(module.named_children())
    known = len(parts) == 2 or not isinstance(module, nn.Sequential)
    return known and isinstance(parts.get(norm_name), _BatchNorm) and type(parts.get(conv_name)) is nn.Conv2d


class _Convolution(nn.Conv2d):
    """Called as before, so that whoever listens to it hears of it."""

    def forward(self, input: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """With its own weight and bias, or others."""
        return super().forward(input) if weight is None else self._conv_forward(input, weight, bias)


# Classes, see host_checks.py. A batch norm is looked up when it is needed: sync_batchnorm puts others there.
@cache
def _layer(kind: Any, conv_name: str, norm_name: str) -> Any:
    def forward(self: Any, given: Tensor) -> Tensor:
        conv, norm = getattr(self, conv_name), getattr(self, norm_name)
        if norm.training:
            learnt: Tensor = kind.forward(self, given)
            return learnt
        output: Tensor = conv(given, *folded(conv, norm))
        for part in BEHIND:
            output = getattr(self, part)(output) if hasattr(self, part) else output
        return output

    return type(kind.__name__, (kind,), {"forward": forward})


@cache
def _block(kind: Any) -> Any:
    def forward(self: Any, given: Tensor) -> Tensor:
        large, small = self.conv1, self.conv2
        if large.norm.training or small.norm.training:
            learnt: Tensor = kind.forward(self, given)
            return learnt
        (weight, bias), (point, shift) = (folded(part.conv, part.norm) for part in (large, small))
        # A convolution of one pixel is one of three by three that looks at the pixel in the middle.
        weight = weight + nn.functional.pad(point, (1, 1, 1, 1))
        output: Tensor = self.activation(large.conv(given, weight, bias + shift))
        return output

    return type(kind.__name__, (kind,), {"forward": forward})
