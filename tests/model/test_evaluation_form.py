"""Where statistics stand still a convolution does the work of its batch norm, with the same result."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detr_diff.model.evaluation_form import fold_in_evaluation
from tests.model.tiny_models import build, first_of

FAMILIES = ["rt_detr", "rt_detr_v2", "d_fine"]


def model_with_statistics(name: str) -> Any:
    model, _ = build(name)
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5, generator=generator)  # type: ignore[union-attr]
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_(0, 0.3, generator=generator)  # type: ignore[union-attr]
    return model


def answer(model: Any, training: bool) -> tuple[list[Tensor], dict[str, Tensor], int]:
    """Memory of the encoder, gradients of its sum, and how many batch norms ran."""
    calls: list[nn.Module] = []
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_hook(lambda module, *_: calls.append(module)) for norm in norms]
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    model.train(training)
    levels = model.model.backbone(images, torch.ones(2, 64, 96, dtype=torch.bool))
    maps = [
        project(level)
        for project, (level, _) in zip(model.model.encoder_input_proj, levels[-3:], strict=True)
    ]
    memory = list(model.model.encoder(maps).last_hidden_state)
    for hook in hooks:
        hook.remove()
    model.zero_grad()
    sum(level.square().sum() for level in memory).backward()  # type: ignore[union-attr]
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return memory, found, len(calls)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", first_of(FAMILIES))
def test_outputs_and_gradients_are_the_same(name: str, training: bool) -> None:
    model = model_with_statistics(name)
    own = copy.deepcopy(model)
    assert fold_in_evaluation(own) > 10
    assert list(own.state_dict()) == list(model.state_dict())
    ours = (
        [answer(one, training) for one in (own, copy.deepcopy(own))] if not training else [answer(own, True)]
    )
    expected, theirs, all_ran = answer(model, training)
    for found, gradients, ran in ours:
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(gradients, theirs, rtol=1e-3, atol=1e-4)
        assert ran == (all_ran if training else 0)


class RepVggBlock(nn.Module):
    """As timm has one of that name, with other parts."""

    def forward(self, given: Tensor) -> Tensor:
        return given + 1


def test_a_block_of_the_same_name_is_left_alone() -> None:
    model = nn.Sequential(RepVggBlock()).eval()
    assert fold_in_evaluation(model) == 0
    assert torch.equal(model(torch.zeros(1)), torch.ones(1))


def test_batch_norm_that_is_put_there_later_is_used() -> None:
    """As trainer.sync_batchnorm does it."""
    model = model_with_statistics("rt_detr")
    fold_in_evaluation(model)
    layer = model.model.encoder.lateral_convs[0]
    layer.eval()
    given = torch.rand(1, 32, 4, 4)
    before = layer(given)
    layer.norm = nn.SyncBatchNorm(32).eval()
    assert not torch.allclose(layer(given), before)
    expected = layer.activation(
        layer.norm.weight[:, None, None] * layer.conv(given) / (1 + layer.norm.eps) ** 0.5
    )
    torch.testing.assert_close(layer(given), expected)
