"""The exponential moving average of the weights."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage(nn.Module):
    """Weights (batch-norm statistics too) averaged over the optimizer steps.

    It is a module of the detector, so that every checkpoint holds both. The decay rises to its
    value as (1 + n) / (10 + n) after n steps: the first weights are soon forgotten. Not that of
    torch, which counts on the device and so waits for it in every step.

    Args:
        model: Whose weights.
        decay: Share of the old average in the new one, from 0 to below 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__()
        self.module: Any = copy.deepcopy(model)
        self.decay = decay
        self.requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, steps: int) -> None:
        """Take the weights in.

        Args:
            model: After an optimizer step.
            steps: How many there were before that one.
        """
        share = 1 - min(self.decay, (1 + steps) / (10 + steps)) if steps else 1.0
        # Not by name: heads that share their weights have several names, and would be averaged as often.
        both = list(zip(_tensors(self.module), _tensors(model), strict=True))
        decimal = [pair for pair in both if pair[0].is_floating_point()]
        torch._foreach_lerp_([own for own, _ in decimal], [current for _, current in decimal], share)
        for own, current in both:
            if not own.is_floating_point():  # counters
                own.copy_(current)


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()
