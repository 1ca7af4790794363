"""The exponential moving average of the weights."""

import copy
from typing import Any

import torch
from torch import nn


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
        averaged, current = self.module.state_dict(), model.state_dict()
        decimal = [name for name, values in averaged.items() if values.is_floating_point()]
        counters = averaged.keys() - set(decimal)
        torch._foreach_lerp_([averaged[name] for name in decimal], [current[name] for name in decimal], share)
        for name in counters:
            averaged[name].copy_(current[name])
