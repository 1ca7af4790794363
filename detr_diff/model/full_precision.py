"""What comes after the encoder computes in float32, whatever the precision of the training.

With all of the demo in bf16 the AP50 of three seeds was 0.72, 0.91 and 0.82; in float32 it was 0.90, 0.91 and
0.88 (experiments/speed/). Backbone and encoder, which are nearly all of the work, may be in bf16.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

LOWERED = (
    "backbone",
    "position_embedding",
    "input_projection",
    "input_proj",
    "encoder_input_proj",
    "encoder",
)


def decode_in_full_precision(detr: Any) -> None:
    """Take decoder, query selection and heads out of autocast.

    Args:
        detr: The model; changed in place. Where nothing is autocast, it computes as before.
    """
    for module in _after_the_encoder(detr):
        module.forward = partial(_in_float32, module)


def _after_the_encoder(detr: Any) -> Iterator[Any]:
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
