"""Batch norm of the backbone: frozen when it is pretrained, alive when it starts from random weights."""

from typing import Any

import torch
from torch import nn

from detr_diff.errors import SettingError
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
    config = detr.config.backbone_config
    originals: dict[str, nn.BatchNorm2d] = {}
    if config.model_type == "timm_backbone":
        from detr_diff.model.timm_backbone import batch_norms, freeze, loses_activation

        originals = batch_norms(config)
    for name, frozen in frozen_batch_norms(detr).items():
        if not name.startswith(BACKBONE):
            continue
        original = originals.get(name.removeprefix(BACKBONE).removeprefix("_backbone."))
        if not live and (original is None or not loses_activation(original, frozen)):
            continue
        norm = nn.BatchNorm2d(len(frozen.weight)) if original is None else original.to_empty(device="cpu")
        norm.load_state_dict({**frozen.state_dict(), "num_batches_tracked": torch.tensor(0)})
        parent, _, last = name.rpartition(".")
        setattr(detr.get_submodule(parent), last, norm if live else freeze(norm))


def require_plain_batch_norm(detr: nn.Module) -> None:
    """Refuse what torch's SyncBatchNorm would change: the batch norms of timm that hold an activation.

    Raises:
        SettingError: There is one.
    """
    if any(type(part).__name__ == "BatchNormAct2d" for part in detr.modules()):
        raise SettingError(
            "trainer.sync_batchnorm=true: batch norm of this backbone holds the activation, which torch drops"
        )


def frozen_batch_norms(model: nn.Module) -> dict[str, Any]:
    """The frozen batch norms in a model, by name."""
    return {name: part for name, part in model.named_modules() if type(part).__name__.endswith(FROZEN)}
