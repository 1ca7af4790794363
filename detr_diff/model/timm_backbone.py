"""Backbones of timm. Imported only where there is one: timm takes a second, and wandb with it."""

from typing import Any

import timm
import torch
from timm.layers.norm_act import BatchNormAct2d, FrozenBatchNormAct2d
from timm.utils.model import freeze_batch_norm_2d  # type: ignore[attr-defined]
from torch import nn

from detr_diff.errors import SettingError
from detr_diff.model.families import PYRAMID_STRIDES, Family


def timm_model(config: Any) -> Any:
    """The timm backbone of a TimmBackboneConfig as timm makes it, on the meta device."""
    with torch.device("meta"):
        return timm.create_model(
            config.backbone,
            features_only=True,
            in_chans=config.num_channels,
            out_indices=tuple(config.out_indices),
            output_stride=config.output_stride,
        )


def batch_norms(config: Any) -> dict[str, nn.BatchNorm2d]:
    """The batch norms of a backbone as timm makes them, by name, on the meta device."""
    return {
        name: part for name, part in timm_model(config).named_modules() if isinstance(part, nn.BatchNorm2d)
    }


def loses_activation(original: nn.BatchNorm2d, frozen: nn.Module) -> bool:
    """Whether a batch norm of timm holds the activation and what transformers put in its place does not."""
    return isinstance(original, BatchNormAct2d) and not isinstance(frozen, FrozenBatchNormAct2d)


def freeze(norm: nn.BatchNorm2d) -> nn.Module:
    """A frozen batch norm with the same statistics and, where it holds one, activation."""
    return freeze_batch_norm_2d(norm)


def timm_settings(kind: Family, name: str, *, single_level: bool, dilation: bool) -> dict[str, Any]:
    """The `backbone_config` of a timm backbone with the levels that the family takes.

    Args:
        kind: The family.
        name: Name of the backbone in timm.
        single_level: Whether the family is set up for the last level alone.
        dilation: Whether the last level keeps the stride of the one before (DC5).

    Raises:
        SettingError: timm has no such backbone, or it has not these levels.
    """
    where = f"model.config.backbone={name}"
    try:
        with torch.device("meta"):
            backbone: Any = timm.create_model(name, features_only=True)
            reductions = backbone.feature_info.reduction()
    except (RuntimeError, AttributeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise SettingError(f"{where}: not a backbone of timm that gives features ({reason})") from error
    levels = [index for index, stride in enumerate(reductions) if stride in kind.strides]
    if single_level or len(set(reductions)) < len(reductions):
        levels = [len(reductions) - 1]
    if kind.strides == PYRAMID_STRIDES and not single_level and len(levels) != len(PYRAMID_STRIDES):
        raise SettingError(f"{where}: has strides {reductions}, {kind.model} needs {list(PYRAMID_STRIDES)}")
    return {
        "model_type": "timm_backbone",
        "backbone": name,
        "features_only": True,
        "use_pretrained_backbone": False,
        "out_indices": levels,
        "output_stride": 16 if dilation else None,
    }
