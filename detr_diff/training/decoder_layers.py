"""What the layers of a decoder predict, as a model of transformers hands it to its loss."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Layers(NamedTuple):
    """What several layers predict for the same queries.

    Attributes:
        logits: float32 [L, B, Q, C].
        boxes: float32 [L, B, Q, 4] cxcywh in [0, 1].
    """

    logits: Tensor
    boxes: Tensor

    @classmethod
    def of(cls, tensors: Iterable[Tensor]) -> "Layers":
        """From logits and boxes of any precision."""
        return cls(*(tensor.float() for tensor in tensors))


class Predictions(NamedTuple):
    """What a loss looks at.

    Attributes:
        layers: For the queries that look for objects; the last layer is last.
        denoising: For queries made from the objects, which say so; None: there are none.
        meta: What transformers says of these, see matcher.denoising_match.
    """

    layers: Layers
    denoising: Layers | None = None
    meta: Mapping[str, Any] | None = None


def every_layer(last: Layers, every: Layers | None) -> Predictions:
    """The layers of a DETR.

    Args:
        last: Of the last layer.
        every: Of all layers; None: only the last has a loss.
    """
    if every is None:
        return Predictions(Layers.of(last))
    # Not the last of `every`: DETR's decoder normalises its last output once more.
    return Predictions(Layers.of(torch.cat([e[:-1], one]) for e, one in zip(every, last, strict=True)))


def every_real_time_layer(
    last: Layers, every: Layers | None, picked: Layers, meta: Mapping[str, Any] | None
) -> Predictions:
    """The layers of an RT-DETR.

    Args:
        last: Of the last layer. Denoising queries come first.
        every: Of all layers, [B, L, ...]; None: only the last has a loss.
        picked: What the encoder says of the queries that it picked, [B, Q, ...].
        meta: Of the denoising queries; None: there are none.
    """
    both = last if every is None else Layers(*(each.transpose(0, 1) for each in every))
    split = 0 if meta is None else meta["dn_num_split"][0]
    own = Layers.of(each[:, :, split:] for each in both)
    if every is None:
        return Predictions(own)
    layers = Layers(
        *(torch.cat([first[None].float(), rest]) for first, rest in zip(picked, own, strict=True))
    )
    if meta is None:
        return Predictions(layers)
    return Predictions(layers, Layers.of(each[:, :, :split] for each in both), meta)
