"""Every family, and DETR on every kind of backbone, as small as they get."""

from collections.abc import Collection, Iterable
from functools import cache
from typing import Any

import pytest
import transformers
from packaging.version import Version
from torch import nn

from detr_diff.model.blocks import let_learn, parameter_groups, rate_groups
from detr_diff.model.families import FAMILIES as TABLE
from detr_diff.model.families import Family
from detr_diff.model.load import load_model
from detr_diff.model.selection import ParameterNames

# The oldest that pyproject.toml admits does some things otherwise.
OLD = Version(transformers.__version__) < Version("5.18")

SIZE: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "num_queries": 6,
}
RESNET: dict[str, Any] = {
    "model_type": "resnet",
    "embedding_size": 8,
    "hidden_sizes": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
}
LAST = {**RESNET, "out_features": ["stage4"]}
PYRAMID = {**RESNET, "out_features": ["stage2", "stage3", "stage4"]}
HGNET: dict[str, Any] = {
    "model_type": "hgnet_v2",
    "hidden_sizes": [8, 8, 16, 16],
    "stem_channels": [3, 8, 8],
    "stage_in_channels": [8, 8, 8, 16],
    "stage_mid_channels": [4, 4, 4, 4],
    "stage_out_channels": [8, 8, 16, 16],
    "stage_num_blocks": [1, 1, 1, 1],
    "stage_downsample": [False, True, True, True],
    "stage_light_block": [False, False, True, True],
    "stage_kernel_size": [3, 3, 5, 5],
    "stage_numb_of_layers": [1, 1, 1, 1],
    "out_features": ["stage2", "stage3", "stage4"],
}
REAL_TIME: dict[str, Any] = {
    **SIZE,
    "encoder_hidden_dim": 32,
    "encoder_in_channels": [8, 16, 16],
    "decoder_in_channels": [32, 32, 32],
    "num_denoising": 4,
    "hidden_expansion": 0.5,
    "backbone_config": {**PYRAMID, "model_type": "rt_detr_resnet"},
}

# Adding a family is one row here.
FAMILIES: dict[str, dict[str, Any]] = {
    "detr": {**SIZE, "auxiliary_loss": True, "backbone_config": LAST},
    "conditional_detr": {**SIZE, "auxiliary_loss": True, "backbone_config": LAST},
    "deformable_detr": {**SIZE, "auxiliary_loss": True, "num_feature_levels": 3, "backbone_config": PYRAMID},
    "rt_detr": REAL_TIME,
    "rt_detr_v2": REAL_TIME,
    "d_fine": {**REAL_TIME, "backbone_config": HGNET, "depth_mult": 0.33},
}
BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101", "efficientnet_b0", "mobilenetv3_small_100")

TWO_STAGES = {"two_stage": True, "with_box_refine": True, "two_stage_num_proposals": 6}
TIMM = {"backbone_config": None, "backbone": "resnet18"}

# Name of a test to family and configuration.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, config) for name, config in FAMILIES.items()},
    "deformable_detr two stages": ("deformable_detr", {**FAMILIES["deformable_detr"], **TWO_STAGES}),
    "rt_detr timm": ("rt_detr", {**REAL_TIME, **TIMM}),
    **{f"detr {name}": ("detr", {**SIZE, "auxiliary_loss": True, "backbone": name}) for name in BACKBONES},
}

FIRST = ("detr", "rt_detr", "detr resnet18", "resnet18")


def first_of(names: Iterable[str]) -> list[Any]:
    """Parameters of a test; those that are none of FIRST are exhaustive."""
    return [
        pytest.param(name, id=name, marks=() if name in FIRST else pytest.mark.exhaustive) for name in names
    ]


def build(key: str, **changes: Any) -> tuple[nn.Module, Family]:
    """A model of a test's own."""
    name, config = MODELS[key]
    return load_model(name, ["a", "b"], config={**config, **changes})[0], TABLE[name]


def set_learning(detr: nn.Module, family: Family, learning: Collection[str]) -> None:
    """Let the parameters learn that the words of a stage choose."""
    let_learn(detr, family, ParameterNames(detr, family).learning(learning, (), "stage"))


def grouped(
    model: nn.Module, family: Family, weight_decay: float, *settings: Any, **named: Any
) -> list[dict[str, Any]]:
    """The optimizer groups of a model, see rate_groups() and parameter_groups()."""
    groups = rate_groups(ParameterNames(model, family), *settings, **named)
    return parameter_groups(model, groups, weight_decay)


@cache
def built(key: str) -> tuple[nn.Module, Family]:
    """A model with two classes for all tests that do not mind its weights."""
    return build(key)
