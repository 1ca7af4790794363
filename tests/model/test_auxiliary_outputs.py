"""Auxiliary losses look at the layers of a decoder and change nothing of what it predicts."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.model.tiny_models import build, first_of


def scattered(key: str, auxiliary: bool) -> Any:
    """A model whose norms are no identities, as after training; the same whatever the losses."""
    model, _ = build(key, auxiliary_loss=auxiliary, decoder_layers=3)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return model.eval()


def predictions(model: nn.Module) -> Any:
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    return model(pixel_values=images)


@torch.no_grad()
@pytest.mark.parametrize("key", first_of(["detr", "conditional_detr", "deformable_detr"]))
def test_predictions_are_those_without_auxiliary_losses(key: str) -> None:
    with_losses, without = scattered(key, True), scattered(key, False)
    for model in (with_losses, copy.deepcopy(with_losses)):
        for name in ("logits", "pred_boxes"):
            torch.testing.assert_close(predictions(model)[name], predictions(without)[name])


@torch.no_grad()
@pytest.mark.parametrize("key", first_of(["detr", "conditional_detr"]))
def test_each_layer_says_what_a_decoder_that_ends_there_would(key: str) -> None:
    model = scattered(key, True)
    kept: list[Tensor] = []
    model.model.decoder.register_forward_hook(lambda *call: kept.append(call[-1].intermediate_hidden_states))
    predictions(model)
    (layers,) = kept
    shorter = scattered(key, False)
    shorter.load_state_dict(model.state_dict())
    ends: list[Tensor] = []
    shorter.model.decoder.register_forward_hook(lambda *call: ends.append(call[-1].last_hidden_state))
    for _ in range(3):
        predictions(shorter)
        del shorter.model.decoder.layers[-1]
    assert len(layers) == 3
    for own, end in zip(layers, reversed(ends), strict=True):
        torch.testing.assert_close(own, end)
