from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from detr_diff.errors import SettingError
from detr_diff.model.blocks import block_of, parameter_groups, parameters_by_block, set_learning
from detr_diff.model.families import BLOCKS, FAMILIES, expand
from detr_diff.model.load import load_model

SMALL: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "num_queries": 6,
}
NATIVE = {
    "model_type": "resnet",
    "embedding_size": 8,
    "hidden_sizes": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
    "out_features": ["stage4"],
}
RT: dict[str, Any] = {
    **SMALL,
    "encoder_hidden_dim": 32,
    "encoder_in_channels": [8, 16, 16],
    "decoder_in_channels": [32, 32, 32],
    "num_denoising": 4,
    "backbone_config": {
        **NATIVE,
        "model_type": "rt_detr_resnet",
        "out_features": ["stage2", "stage3", "stage4"],
    },
}
MODELS = {
    "detr native": ("detr", {**SMALL, "backbone_config": NATIVE}),
    "detr timm": ("detr", {**SMALL, "backbone": "resnet18"}),
    "rt_detr": ("rt_detr", RT),
}


def build(key: str, **settings: Any) -> tuple[nn.Module, Any]:
    name, config = MODELS[key]
    model, _, _ = load_model(name, ["a", "b"], config={**config, "auxiliary_loss": True}, **settings)
    return model, FAMILIES[name]


@pytest.mark.parametrize("key", MODELS)
def test_groups_cover_every_parameter_once(key: str) -> None:
    model, family = build(key)
    groups = parameter_groups(model, family, 0.01)
    ids = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(ids) == sorted(id(parameter) for parameter in model.parameters())
    assert list(parameters_by_block(model, family)) == list(BLOCKS)
    for group in groups:
        decays = group["weight_decay"] > 0
        assert all((parameter.ndim > 1) is decays for parameter in group["params"])


@pytest.mark.parametrize("key", MODELS)
@pytest.mark.parametrize("learn", ["heads", "transformer", "layer2"])
def test_frozen_blocks_do_not_change(key: str, learn: str) -> None:
    torch.manual_seed(0)
    model, family = build(key)
    learning = expand([learn], "here")
    groups = parameter_groups(model, family, 0.5)
    optimizer = AdamW([{**group, "lr": 0.01} for group in groups])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    labels = [{"boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]]), "class_labels": torch.tensor([1])}] * 2
    for _ in range(20):
        model.train()
        set_learning(model, family, learning)
        optimizer.zero_grad()
        model(pixel_values=torch.randn(2, 3, 64, 64), labels=labels).loss.backward()
        optimizer.step()
    changed = {
        block_of(family, name)
        for name, tensor in model.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    assert changed == set(learning)


def test_dropout_of_a_frozen_block_is_off() -> None:
    model, family = build("detr native")
    set_learning(model, family, expand(["heads"], "here"))
    modes = {block_of(family, f"{name}."): module.training for name, module in model.named_modules()}
    assert modes["encoder"] is modes["decoder"] is modes["stem"] is False
    assert modes["class_head"] is modes["box_head"] is True


def test_a_parameter_outside_all_blocks_is_an_error() -> None:
    with pytest.raises(ValueError, match="parameter 0.weight belongs to no block"):
        parameters_by_block(nn.Sequential(nn.Linear(2, 2)), FAMILIES["detr"])


def test_an_unknown_block_is_named_with_near_ones() -> None:
    with pytest.raises(SettingError, match="stages.x.learn: unknown block 'backbon', did you mean backbone"):
        expand(["backbon"], "stages.x.learn")
