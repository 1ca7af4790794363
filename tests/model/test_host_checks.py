import copy
import sys
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from detr_diff.model.host_checks import MAKES_QUERIES, leave_checks_out
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


# Of objects; there is room for four queries.
@pytest.mark.parametrize("counts", [(2, 3), (0, 5), (9, 1), (0, 0)])
@pytest.mark.parametrize("name", ["rt_detr", "rt_detr_v2", "d_fine"])
def test_denoising_queries_are_counted_not_searched(name: str, counts: tuple[int, int]) -> None:
    leave_checks_out(build(name)[0])
    make = getattr(sys.modules[f"transformers.models.{name}.modeling_{name}"], MAKES_QUERIES)
    labels = [
        {"class_labels": torch.arange(count) % 2, "boxes": torch.full((count, 4), 0.5)} for count in counts
    ]
    given = {"num_classes": 2, "num_queries": 6, "class_embed": torch.nn.Embedding(3, 8)}

    def made(function: Any) -> Any:
        torch.manual_seed(0)
        return function(targets=labels, num_denoising_queries=4, **given)

    with NoSearch():
        queries = made(make)
    torch.testing.assert_close(queries, made(make.__wrapped__))


class NoSearch(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not torch.ops.aten.nonzero.default
        return func(*args, **(kwargs or {}))
