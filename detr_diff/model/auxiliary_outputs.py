"""Outputs of each decoder layer that leave the final output unchanged.

DETR (facebookresearch/detr, models/transformer.py) and Conditional DETR give the heads a normalised
copy of the output of each layer, for the auxiliary losses. With `auxiliary_loss` the decoders of
transformers 5.23 hand that copy to the next layer, too, and normalise the last twice: published
weights then predict something else than without, and than where they come from.
"""

from typing import Any

from torch import Tensor, nn
from transformers.models.conditional_detr.modeling_conditional_detr import ConditionalDetrDecoder
from transformers.models.detr.modeling_detr import DetrDecoder


class LaterLayerNorm(nn.LayerNorm):
    """Leaves what it is called with as it is; `normalised` is asked afterwards."""

    def forward(self, input: Tensor) -> Tensor:
        """The same."""
        return input

    def normalised(self, states: Tensor) -> Tensor:
        """What an nn.LayerNorm makes of [..., D]."""
        return super().forward(states)


class _LayersApart:
    """Normalises copies of what the layers of a decoder say, all at once."""

    def forward(self, *args: Any, **named: Any) -> Any:
        own: Any = self
        output: Any = super().forward(*args, **named)  # type: ignore[misc]
        output.intermediate_hidden_states = own.layernorm.normalised(output.intermediate_hidden_states)
        output.last_hidden_state = output.intermediate_hidden_states[-1]
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
        decoder.layernorm.__class__ = LaterLayerNorm
