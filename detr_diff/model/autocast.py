"""Only backbone and encoder are autocast; projections, query selection, decoder and heads compute in float32.

With all of it in bf16 the gradients of the demo's first steps point elsewhere (cosine with those of float32
0.5 in the backbone, 0.98 as here), and it learns less; see experiments/speed/.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

LOWERED = ("backbone", "position_embedding", "encoder")


def autocast_backbone_and_encoder(detr: Any) -> None:
    """Take all but backbone and encoder out of autocast.

    Args:
        detr: The model; changed in place. Where nothing is autocast, it computes as before.
    """
    for module in _in_full(detr):
        module.forward = partial(_in_float32, module)


def _in_full(detr: Any) -> Iterator[Any]:
    parts = [part for name, part in detr.named_children() if name != "model"]
    parts += [part for name, part in detr.model.named_children() if name not in LOWERED]
    for part in parts:
        # A list has no forward of its own; and a projection may be none.
        members = part if isinstance(part, nn.ModuleList) else [part]
        yield from (member for member in members if any(True for _ in member.parameters()))


def _in_float32(module: nn.Module, *arguments: Any, **named: Any) -> Any:
    forward = type(module).forward
    device = next(module.parameters()).device.type
    if not torch.is_autocast_enabled(device):
        return forward(module, *arguments, **named)
    with torch.autocast(device, enabled=False):
        return forward(module, *map(_float, arguments), **{k: _float(v) for k, v in named.items()})


def _float(given: Any) -> Any:
    return given.float() if isinstance(given, Tensor) and given.is_floating_point() else given
