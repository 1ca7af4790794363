"""Batch norm of the backbone: frozen when it is pretrained, alive when it starts from random weights."""

from typing import Any

import torch
from timm.layers.norm_act import BatchNormAct2d, FrozenBatchNormAct2d
from timm.utils.model import freeze_batch_norm_2d  # type: ignore[attr-defined]
from torch import nn

from detr_diff.model.backbone import timm_model
from detr_diff.model.families import BACKBONE

# Each family has a class of its own, all alike; the last is timm's, which keeps the activation.
FROZEN = ("FrozenBatchNorm2d", "FrozenBatchNormAct2d")


def restore_batch_norm(detr: Any, live: bool) -> None:
    """Mend or undo what transformers does to the batch norm of a backbone.

    transformers replaces every batch norm by a frozen one. Two things are wrong with it. A frozen
    one whose statistics come from no training normalises nothing. And the batch norms of many timm
    backbones (EfficientNet, MobileNet, RegNet) hold the activation function, which is lost with
    them, so that the backbone becomes nearly linear.

    Args:
        detr: The model; changed in place.
        live: Whether the batch norm learns.
    """
    originals = _originals(detr)
    for name, module in frozen_batch_norms(detr).items():
        if not name.startswith(BACKBONE):
            continue
        original = originals.get(name.removeprefix(BACKBONE).removeprefix("_backbone."))
        if not live and (
            not isinstance(original, BatchNormAct2d) or isinstance(module, FrozenBatchNormAct2d)
        ):
            continue
        norm = nn.BatchNorm2d(len(module.weight)) if original is None else original.to_empty(device="cpu")
        norm.load_state_dict({**module.state_dict(), "num_batches_tracked": torch.tensor(0)})
        parent, _, last = name.rpartition(".")
        setattr(detr.get_submodule(parent), last, norm if live else freeze_batch_norm_2d(norm))


def frozen_batch_norms(model: nn.Module) -> dict[str, Any]:
    """The frozen batch norms in a model, by name."""
    return {name: part for name, part in model.named_modules() if type(part).__name__.endswith(FROZEN)}


def _originals(detr: Any) -> dict[str, Any]:
    """The batch norms of a timm backbone as timm makes them; other backbones have plain ones."""
    config = detr.config.backbone_config
    if config.model_type != "timm_backbone":
        return {}
    return {
        name: module
        for name, module in timm_model(config).named_modules()
        if isinstance(module, nn.BatchNorm2d)
    }
