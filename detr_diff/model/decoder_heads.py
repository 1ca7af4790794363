"""Which heads the layers of the decoder have: one for all of them, or each its own; and how deep they are."""

import re
from typing import Any

import torch
from torch import Tensor, nn

from detr_diff.errors import SettingError
from detr_diff.model.adapter import AdaptedLinear

HEAD = re.compile(r"(class_labels_classifier|bbox_predictor|(model\.decoder\.)?(class|bbox)_embed\.(\d+))$")
LISTS = re.compile(r"(model\.decoder\.)?(class|bbox)_embed$")


class LayeredLinear(AdaptedLinear):
    """A linear layer of a shared head, to which each layer of the decoder adds what is its own."""

    own: nn.ModuleList

    def forward(self, input: Tensor) -> Tensor:
        """[..., C] to [..., D]; of [L, B, Q, C] each of the L decoder layers gets its own."""
        features = self.adapter(input)
        shared = nn.functional.linear(features, self.weight, self.bias)
        if features.ndim < 4:  # of one layer, which is the last where there are several
            added: Tensor = self.own[-1](features)
            return shared + added
        return shared + torch.stack([own(part) for own, part in zip(self.own, features, strict=True)])


class SameHead(nn.Module):
    """Answers as another head does; it has no parameters.

    Args:
        head: The other one.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self._head = (head,)  # a tuple is no submodule: the parameters have one name

    def forward(self, features: Tensor) -> Tensor:
        """From [..., C], as the other head."""
        answer: Tensor = self._head[0](features)
        return answer


def share_heads(detr: nn.Module) -> None:
    """Let all layers of the decoder have the heads of the last one, in place.

    In RT-DETR each has its own. In the other families they share them already.
    """
    for name, heads in list(detr.named_modules()):
        if LISTS.match(name) and isinstance(heads, nn.ModuleList):
            last = heads[-1]
            for index, head in enumerate(heads[:-1]):
                if _first(head) is not _first(last):
                    heads[index] = SameHead(last)


def divide_heads(detr: Any) -> None:
    """Let each layer of the decoder add its own to heads that they share, in place; zero at first."""
    made: dict[tuple[int, str], nn.ModuleList] = {}
    heads = [(found, head) for name, head in detr.named_modules() if (found := HEAD.match(name))]
    users = [_first(head) for _, head in heads]
    for found, head in heads:
        index = found[4]
        of_one = index is not None
        if of_one and sum(_first(head) is user for user in users) == 1:
            continue  # of this layer alone
        if of_one and int(index) >= detr.config.decoder_layers:
            continue  # it makes proposals from the encoder
        for linear in _linears(head):
            key = id(linear.weight), index or ""
            if key not in made:
                count = 1 if of_one else detr.config.decoder_layers
                made[key] = nn.ModuleList(_nothing(linear) for _ in range(count))
            _layered(linear, made[key])


def set_box_depth(detr: nn.Module, depth: int) -> None:
    """Leave so many linear layers in the box heads: the first ones and the last, in place.

    Raises:
        SettingError: They have fewer.
    """
    for name, head in detr.named_modules():
        if (found := HEAD.match(name)) and "bbox" in found[1]:
            layers: Any = head.layers
            if depth > len(layers):
                raise SettingError(
                    f"model.modification.box_depth={depth}: the box head has {len(layers)} layers; "
                    "box_layers adds some"
                )
            for index in range(depth - 1, len(layers) - 1):
                layers[index] = nn.Identity()  # between two ReLUs; the others keep their names


def _first(head: nn.Module) -> nn.Parameter:
    return next(head.parameters())


def _linears(head: Any) -> list[nn.Linear]:
    """Of a class head, which is one, or of a box head, without its adapters."""
    layers = [head] if isinstance(head, nn.Linear) else head.layers
    return [layer for layer in layers if isinstance(layer, nn.Linear)]


def _nothing(linear: nn.Linear) -> nn.Linear:
    """A layer of the same shape that answers zero."""
    layer = nn.Linear(linear.in_features, linear.out_features)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _layered(linear: Any, own: nn.ModuleList) -> None:
    # The class changes and not the module: its weights stay where they are, under their names.
    if not isinstance(linear, AdaptedLinear):
        linear.adapter = nn.Identity()
    linear.__class__ = LayeredLinear
    linear.own = own
