"""Attention that is masked where something is padded, and only there, without looking at the mask.

Encoder and decoder of DETR and Conditional DETR in transformers ask their mask in every step whether it
masks anything, `padding_mask.all()`: for the answer the host waits until the device has run the backbone. A
compiled model cannot ask; it masks always, and the fastest kernels for attention take no mask. Whoever calls
the model knows it: a batch in which nothing is padded has no pixel_mask.

RT-DETR and its kin shrink their mask to each feature map and never look at it. They get one pixel of it.
"""

from typing import Any

from torch import Tensor, nn
from transformers.models.conditional_detr.modeling_conditional_detr import ConditionalDetrModel
from transformers.models.detr.modeling_detr import DetrModel

from detr_diff.model.families import Family

MASKS = ("attention_mask", "encoder_attention_mask")


def mask_padding_alone(detr: Any, family: Family) -> None:
    """Let a model go by whether it is called with a pixel_mask; changed in place.

    Args:
        detr: A model of transformers; Deformable DETR masks always.
        family: Its family.
    """
    inner = detr.model
    if not family.sees_padding:
        inner.backbone.register_forward_pre_hook(_one_pixel)
    if isinstance(inner, DetrModel | ConditionalDetrModel):
        inner.register_forward_pre_hook(_note, with_kwargs=True)
        for part in (inner.encoder, inner.decoder):
            part.register_forward_pre_hook(_mask, with_kwargs=True)


def _one_pixel(backbone: nn.Module, given: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    images, masks = given
    return images, masks[:, :1, :1]


def _note(inner: Any, arguments: Any, named: dict[str, Any]) -> None:
    inner.encoder.masked = inner.decoder.masked = named.get("pixel_mask") is not None


def _mask(part: nn.Module, arguments: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Masks bool [B, S] become none, or [B, 1, 1, S], with which transformers leaves off asking."""
    given = {name: named[name] for name in MASKS if named.get(name) is not None}
    masks = {name: mask.bool()[:, None, None, :] if part.masked else None for name, mask in given.items()}
    return arguments, {**named, **masks}
