"""Models of transformers that do not look at their tensors in every step.

Each encoder layer asks `if not torch.isfinite(hidden_states).all()`, in training; each decoder layer of
RT-DETRv2 and D-FINE whether sizes agree. For the answer the host waits until the device has come so far, and
torch.compile ends its graph there. The first was for float16, whose infinities were then clamped; where
numbers are not finite here, NonFiniteGuard says so. Sizes agree, or the first step fails all the same.
"""

import os
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


def leave_checks_out(detr: nn.Module) -> None:
    """Take the checks out of the layers of a model of transformers; changed in place."""
    # The switch that transformers has for what is about sizes.
    os.environ.setdefault("TRANSFORMERS_DISABLE_TORCH_CHECK", "1")
    for module in detr.modules():
        kind: Any = type(module)
        if kind.__name__.endswith("EncoderLayer"):
            module.__class__ = _unchecked(kind)


@cache
def _unchecked(layer: Any) -> Any:
    # A class, as FSDP does it: what checkpoints gradients then runs the whole of it again.
    def forward(self: nn.Module, *arguments: Any, **named: Any) -> Any:
        with _Unchecked():
            return layer.forward(self, *arguments, **named)

    return type(layer.__name__, (layer,), {"forward": forward})


class _Finite:
    """What a check is told."""

    def all(self) -> bool:
        return True


class _Unchecked(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return _Finite() if func is torch.isfinite else func(*args, **(kwargs or {}))
