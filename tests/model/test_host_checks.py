import copy
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from detr_diff.model.host_checks import leave_checks_out
from tests.model.tiny_models import FAMILIES, build, first_of


class Checks(TorchFunctionMode):
    """Counts them."""

    number = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += func is torch.isfinite
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", first_of(FAMILIES))
def test_layers_compute_the_same_without_the_check(name: str) -> None:
    model, _ = build(name)
    unchecked = copy.deepcopy(model)
    leave_checks_out(unchecked)
    assert list(unchecked.state_dict()) == list(model.state_dict())
    images, masks = torch.rand(2, 3, 64, 64), torch.ones(2, 64, 64, dtype=torch.bool)

    def logits(detr: torch.nn.Module) -> tuple[torch.Tensor, int]:
        torch.manual_seed(0)
        with Checks() as checks:
            found: torch.Tensor = detr.train()(pixel_values=images, pixel_mask=masks).logits
        return found, checks.number

    expected, number = logits(model)
    assert number
    for other in (unchecked, copy.deepcopy(unchecked)):
        found, number = logits(other)
        assert not number
        torch.testing.assert_close(found, expected)
