"""The exponential moving average of the weights."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class WeightAverage(AveragedModel):
    """Weights (batch-norm statistics too) averaged over the optimizer steps.

    It is a module of the detector, so that every checkpoint holds both. The decay rises to its
    value as (1 + n) / (10 + n) after n updates: the first weights are soon forgotten.

    Args:
        model: Whose weights.
        decay: Share of the old average in the new one, from 0 to below 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, multi_avg_fn=self._average, use_buffers=True)
        self.decay = decay
        self.requires_grad_(False)

    @torch.no_grad()
    def _average(self, averaged: Any, current: Any, updates: Tensor | int) -> None:
        n = int(updates)
        share = 1 - min(self.decay, (1 + n) / (10 + n))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, share)
        else:  # counters
            torch._foreach_copy_(averaged, current)
