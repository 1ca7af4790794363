"""Models of transformers that do not look at their tensors in every step.

Each encoder layer asks `if not torch.isfinite(hidden_states).all()`, in training; each decoder layer of
RT-DETRv2 and D-FINE whether sizes agree. For the answer the host waits until the device has come so far, and
torch.compile ends its graph there. The first was for float16, whose infinities were then clamped; where
numbers are not finite here, NonFiniteGuard says so. Sizes agree, or the first step fails all the same.

What makes the denoising queries of RT-DETR and D-FINE searches for those that stand for an object, although
it knows how many there are. Told the number, the search waits for nothing.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial, wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def leave_checks_out(detr: nn.Module) -> None:
    """Take the checks out of the layers of a model of transformers; changed in place."""
    # The switch that transformers has for what is about sizes.
    os.environ.setdefault("TRANSFORMERS_DISABLE_TORCH_CHECK", "1")
    for module in detr.modules():
        kind: Any = type(module)
        if kind.__name__.endswith("EncoderLayer"):
            module.__class__ = _unchecked(kind)
    _count_denoising_queries(sys.modules[type(detr).__module__])


@cache
def _unchecked(layer: Any) -> Any:
    # A class, as FSDP does it: what checkpoints gradients then runs the whole of it again.
    def forward(self: nn.Module, *arguments: Any, **named: Any) -> Any:
        with _Instead(torch.isfinite, _Finite):
            return layer.forward(self, *arguments, **named)

    return type(layer.__name__, (layer,), {"forward": forward})


class _Finite:
    """What a check is told of a tensor."""

    def __init__(self, tensor: Tensor) -> None:
        pass

    def all(self) -> bool:
        return True


class _Instead(TorchFunctionMode):
    """Calls something else instead of one function of torch."""

    def __init__(self, asked: Callable[..., Any], answer: Callable[..., Any]) -> None:
        super().__init__()
        self.asked, self.answer = asked, answer

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return (self.answer if func is self.asked else func)(*args, **(kwargs or {}))


MAKES_QUERIES = "get_contrastive_denoising_training_group"


def _count_denoising_queries(implementation: Any) -> None:
    """Of the module of a model, once: it is a function there, not a method of the model."""
    search = getattr(implementation, MAKES_QUERIES, None)
    if search is not None and not hasattr(search, "__wrapped__"):
        setattr(implementation, MAKES_QUERIES, _counted(search))


def _counted(search: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(search)
    def make(
        targets: Sequence[Mapping[str, Any]], *given: Any, num_denoising_queries: int, **named: Any
    ) -> Any:
        counts = [len(target["class_labels"]) for target in targets]
        # As many groups as there is room for, with a query for each object in each.
        groups = max(1, num_denoising_queries // max(1, *counts))
        with _Instead(torch.nonzero, partial(torch.nonzero_static, size=groups * sum(counts))):
            return search(targets, *given, num_denoising_queries=num_denoising_queries, **named)

    return make
