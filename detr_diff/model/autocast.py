"""Only backbone and encoder are autocast; projections, query selection, decoder and heads compute in float32.

With all of it in bf16 the gradients of the demo's first steps point elsewhere (cosine with those of float32
0.5 in the backbone, 0.98 as here), and it learns less; see experiments/speed/. Where nothing learns, in
inference mode, all but the heads may be autocast: that moves no AP by more than 0.002 there.
"""

from collections.abc import Collection, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

LOWERED = ("backbone", "position_embedding", "encoder")
HEADS = ("class_embed", "bbox_embed")  # in a decoder; others are parts of their own


def autocast_backbone_and_encoder(detr: Any, in_inference: Collection[str] = ()) -> None:
    """Take all but backbone and encoder out of autocast.

    Args:
        detr: The model; changed in place. Where nothing is autocast, it computes as before.
        in_inference: Parts of it that stay in autocast in inference mode, but for their heads.
    """
    for name, module in _in_full(detr):
        module.forward = partial(_in_float32, module, name in in_inference)


def _in_full(detr: Any) -> Iterator[tuple[str, Any]]:
    parts = [(name, part) for name, part in detr.named_children() if name != "model"]
    parts += [(name, part) for name, part in detr.model.named_children() if name not in LOWERED]
    parts += [(name, part) for name, part in detr.model.decoder.named_children() if name in HEADS]
    for name, part in parts:
        # A list has no forward of its own; and a projection may be none.
        members = part if isinstance(part, nn.ModuleList) else [part]
        yield from ((name, member) for member in members if any(True for _ in member.parameters()))


def _in_float32(module: nn.Module, but_in_inference: bool, *arguments: Any, **named: Any) -> Any:
    forward = type(module).forward
    device = next(module.parameters()).device.type
    lowered = but_in_inference and torch.is_inference_mode_enabled()
    if lowered or not torch.is_autocast_enabled(device):
        return forward(module, *arguments, **named)
    with torch.autocast(device, enabled=False):
        return forward(module, *map(_float, arguments), **{k: _float(v) for k, v in named.items()})


def _float(given: Any) -> Any:
    return given.float() if isinstance(given, Tensor) and given.is_floating_point() else given
