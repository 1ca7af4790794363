"""Gradient checkpointing: layers run again in the backward pass, instead of keeping what they made.

Chen et al. 2016, arXiv:1604.06174.
"""

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from detr_diff.errors import SettingError


def checkpoint_gradients(detr: nn.Module) -> None:
    """Keep only the inputs of the layers of encoder, decoder and backbone; gradients stay the same.

    A backbone with live batch norm keeps all, as running it again would move its statistics twice.

    Raises:
        SettingError: The model has no such layers.
    """
    model: Any = detr
    if not model.supports_gradient_checkpointing:
        raise SettingError(
            f"gradient_checkpointing=true: {model.config.model_type} cannot; "
            "detr, conditional_detr and deformable_detr can"
        )
    model.gradient_checkpointing_enable({"use_reentrant": False})
    backbone = model.model.backbone
    live = any(isinstance(module, _BatchNorm) for module in backbone.modules())
    for module in backbone.modules():
        if not live and hasattr(module, "set_grad_checkpointing"):  # of timm
            module.set_grad_checkpointing(True)
