"""What is padded is masked as transformers masks it, and a model that need not look predicts the same."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detr_diff.model.families import family
from detr_diff.model.padding_mask import mask_padding_alone
from tests.model.tiny_models import build, first_of


@torch.no_grad()
def predictions(model: nn.Module, **given: Any) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    output = model.eval()(pixel_values=torch.rand(2, 3, 96, 128, generator=generator), **given)
    return output.logits, output.pred_boxes


@pytest.mark.parametrize("name", first_of(["detr", "conditional_detr", "deformable_detr"]))
def test_predictions_are_those_of_transformers(name: str) -> None:
    model, _ = build(name)
    for parameter in model.parameters():  # as after some learning: attention that looks somewhere
        nn.init.normal_(parameter, std=0.5)
    own = copy.deepcopy(model)
    mask_padding_alone(own, family(name))
    masks = torch.ones(2, 96, 128, dtype=torch.bool)
    masks[1, 48:], masks[1, :, 64:] = False, False
    whole, padded = predictions(model), predictions(model, pixel_mask=masks)
    assert not torch.allclose(whole[0], padded[0], atol=1e-3)
    for one in (own, copy.deepcopy(own)):
        for found, expected in (
            (predictions(one), whole),
            (predictions(one, pixel_mask=masks), padded),
            (predictions(one), whole),
        ):
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", first_of(["rt_detr", "rt_detr_v2", "d_fine"]))
def test_a_mask_that_nothing_looks_at_is_a_pixel(name: str) -> None:
    model, _ = build(name)
    own = copy.deepcopy(model)
    mask_padding_alone(own, family(name))
    masks = torch.ones(2, 96, 128, dtype=torch.bool)
    masks[1, 48:], masks[1, :, 64:] = False, False
    seen: list[Tensor] = []
    own.model.backbone.register_forward_pre_hook(lambda module, given: seen.append(given[1]))
    for one in (own, copy.deepcopy(own)):
        for given in ({}, {"pixel_mask": masks}):
            torch.testing.assert_close(predictions(one, **given), predictions(model, **given))
    assert {tuple(mask.shape) for mask in seen} == {(2, 1, 1)}
