"""Only backbone and encoder are autocast; projections, query selection, decoder and heads compute in float32.

With all of it in bf16 the gradients of the demo's first steps point elsewhere (cosine with those of float32
0.5 in the backbone, 0.98 as here), and it learns less; see experiments/speed/. Through a part that is frozen
behind frozen parts, or in evaluation, goes no gradient: there all but the heads may be autocast, which moves
no AP by more than 0.002.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

LOWERED = ("backbone", "position_embedding", "encoder")
HEADS = ("class_embed", "bbox_embed")  # in a decoder; others are parts of their own


def autocast_backbone_and_encoder(detr: Any, without_gradient: Collection[str] = ()) -> None:
    """Take all but backbone and encoder out of autocast.

    Args:
        detr: The model; changed in place. Where nothing is autocast, it computes as before.
        without_gradient: Parts of it that stay in autocast where no gradient goes through them, but for their
            heads. Whether their outputs are kept or made anew makes no difference to that.
    """
    for name, module in _in_full(detr):
        module.forward = partial(_in_float32, module, name in without_gradient)


def _in_full(detr: Any) -> Iterator[tuple[str, Any]]:
    parts = [(name, part) for name, part in detr.named_children() if name != "model"]
    parts += [(name, part) for name, part in detr.model.named_children() if name not in LOWERED]
    parts += [(name, part) for name, part in detr.model.decoder.named_children() if name in HEADS]
    for name, part in parts:
        # A list has no forward of its own; and a projection may be none.
        members = part if isinstance(part, nn.ModuleList) else [part]
        yield from ((name, member) for member in members if any(True for _ in member.parameters()))


def _in_float32(module: nn.Module, but_without_gradient: bool, *arguments: Any, **named: Any) -> Any:
    forward = type(module).forward
    device = next(module.parameters()).device.type
    if not torch.is_autocast_enabled(device):
        return forward(module, *arguments, **named)
    if but_without_gradient and not _has_gradient(module, arguments, named):
        return forward(module, *arguments, **named)
    with torch.autocast(device, enabled=False):
        return forward(module, *map(_float, arguments), **{k: _float(v) for k, v in named.items()})


def _has_gradient(module: nn.Module, arguments: Sequence[Any], named: Mapping[str, Any]) -> bool:
    if not torch.is_grad_enabled():
        return False
    given = (value for value in (*arguments, *named.values()) if isinstance(value, Tensor))
    return any(tensor.requires_grad for tensor in chain(given, module.parameters()))


def _float(given: Any) -> Any:
    return given.float() if isinstance(given, Tensor) and given.is_floating_point() else given
