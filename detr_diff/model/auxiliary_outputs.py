"""What each decoder layer says on the way, without changing what the decoder says in the end.

DETR (facebookresearch/detr, models/transformer.py) and Conditional DETR give the heads a normalised
copy of the output of each layer, for the auxiliary losses. With `auxiliary_loss` the decoders of
transformers 5.23 hand that copy to the next layer, too, and normalise the last twice: published
weights then predict something else than without, and than where they come from.
"""

import copy
from typing import Any

import torch
from torch import Tensor
from transformers.models.conditional_detr.modeling_conditional_detr import ConditionalDetrDecoder
from transformers.models.detr.modeling_detr import DetrDecoder


class _LayersApart:
    """Runs the decoder as without auxiliary losses, and normalises copies of what its layers say."""

    def forward(self, *args: Any, **named: Any) -> Any:
        own: Any = self
        said: list[Tensor] = []
        hooks = [layer.register_forward_hook(lambda *call: said.append(call[-1])) for layer in own.layers]
        try:
            output = super().forward(*args, **named)  # type: ignore[misc]
        finally:
            for hook in hooks:
                hook.remove()
        output.intermediate_hidden_states = torch.stack([own.layernorm(layer) for layer in said])
        return output


class MendedDetrDecoder(_LayersApart, DetrDecoder):
    """Of DETR."""


class MendedConditionalDetrDecoder(_LayersApart, ConditionalDetrDecoder):
    """Of Conditional DETR."""


MENDED = {DetrDecoder: MendedDetrDecoder, ConditionalDetrDecoder: MendedConditionalDetrDecoder}


def mend_auxiliary_outputs(detr: Any) -> None:
    """Mend the decoder of a model of transformers, in place, when it has this fault."""
    decoder = detr.model.decoder
    if type(decoder) in MENDED and decoder.config.auxiliary_loss:
        decoder.__class__ = MENDED[type(decoder)]
        decoder.config = copy.deepcopy(decoder.config)
        decoder.config.auxiliary_loss = False
