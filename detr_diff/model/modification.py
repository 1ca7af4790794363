"""Modification: a DETR with other positions, activations, heads or an adapter; all else stays as it is."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from transformers.activations import ACT2FN

from detr_diff.choices import DecoderHeads, Positions
from detr_diff.errors import SettingError, nearest
from detr_diff.model.adapter import adapt_heads, adapt_input
from detr_diff.model.decoder_heads import divide_heads, set_box_depth, share_heads
from detr_diff.model.families import Family
from detr_diff.model.positions import learn_positions, scale_positions

WHERE = "model.modification"

# The configurations of the families have one name or another for the same.
ACTIVATION = ("encoder_activation_function", "decoder_activation_function")
ATTENTION_HEADS = {  # the later one wins
    "attention_heads": {
        "encoder_attention_heads": "encoder_hidden_dim",
        "decoder_attention_heads": "d_model",
    },
    "decoder_attention_heads": {"decoder_attention_heads": "d_model"},
}
LEAST = {
    "queries": 1,
    "attention_heads": 1,
    "decoder_attention_heads": 1,
    "adapter": 1,
    "adapter_kernel": 1,
    "class_layers": 0,
    "box_layers": 0,
    "head_width": 1,
    "box_depth": 2,
}
WORDS: dict[str, type[StrEnum]] = {"positions": Positions, "heads": DecoderHeads}


@dataclass(frozen=True)
class Modification:
    """What is changed of a model. What starts new starts so that the model first answers as before.

    Attributes:
        positions: Position encodings of the image's features: sine, or a learned table; None: as
            the family has them.
        position_scale: What they are multiplied by.
        activation: Of the feed-forwards of the transformer.
        dropout: Of the transformer, from 0 to below 1.
        queries: How many objects can be found at most.
        attention_heads: Of the transformer.
        decoder_attention_heads: Of its decoder alone.
        adapter: Channels of an adapter convolution between backbone and transformer; None: none.
        adapter_kernel: Its size, an odd number.
        class_layers: So many residual layers more before the class head.
        box_layers: The same before the box head.
        head_width: Of those layers; None: as wide as the transformer. Parallel heads whose answers
            are added are the same as one that is so much wider.
        box_depth: How many of the box head's own linear layers are left; None: all.
        heads: Whether the layers of the decoder share their heads; None: as in the family.
    """

    positions: Positions | None = None
    position_scale: float = 1.0
    activation: str | None = None
    dropout: float | None = None
    queries: int | None = None
    attention_heads: int | None = None
    decoder_attention_heads: int | None = None
    adapter: int | None = None
    adapter_kernel: int = 3
    class_layers: int = 0
    box_layers: int = 0
    head_width: int | None = None
    box_depth: int | None = None
    heads: DecoderHeads | None = None

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            self._require_number(name, least)
        if self.head_width is not None and not (self.class_layers or self.box_layers):
            raise SettingError(f"{WHERE}.head_width={self.head_width}: class_layers and box_layers are 0")
        if self.adapter_kernel % 2 == 0:
            raise SettingError(f"{WHERE}.adapter_kernel={self.adapter_kernel}: an odd number")
        if self.position_scale < 0:
            raise SettingError(f"{WHERE}.position_scale={self.position_scale}: a number from 0")
        if self.dropout is not None and not 0.0 <= self.dropout < 1.0:
            raise SettingError(f"{WHERE}.dropout={self.dropout}: a share from 0 to below 1")
        if self.activation is not None and self.activation not in ACT2FN:
            raise SettingError(f"{WHERE}.activation={self.activation}: {nearest(self.activation, ACT2FN)}")
        for name, kind in WORDS.items():
            word = getattr(self, name)
            if word is not None and word not in list(kind):
                raise SettingError(f"{WHERE}.{name}={word}: {nearest(word, kind)}")
            object.__setattr__(self, name, word and kind(word))

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Modification":
        """From the words of a configuration, in which null leaves the model as it is.

        Raises:
            SettingError: An unknown name, or a value that is not allowed.
        """
        known = [field.name for field in fields(cls)]
        for name in settings:
            if name not in known:
                raise SettingError(f"{WHERE}.{name}: unknown, {nearest(name, known)}")
        return cls(**{name: value for name, value in settings.items() if value is not None})

    def settings(self) -> dict[str, Any]:
        """As primitives, as `from_settings` takes it; only what is changed."""
        plain = {key: str(value) if key in WORDS and value else value for key, value in asdict(self).items()}
        return {field.name: plain[field.name] for field in fields(self) if plain[field.name] != field.default}

    def config(
        self, kind: Family, given: Mapping[str, Any], stored: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """The settings of the transformers configuration; what is changed wins.

        Args:
            kind: The family.
            given: What the user says of it.
            stored: What came with pretrained weights.

        Raises:
            SettingError: A number of attention heads that does not fit, or heads that the family cannot have.
        """
        whole = {**kind.config_class().to_dict(), **(stored or {}), **given}
        changed: dict[str, Any] = {}
        if self.positions is not None and "position_embedding_type" in whole:
            changed["position_embedding_type"] = str(self.positions)
        if self.activation is not None:
            names = [name for name in ACTIVATION if name in whole] or ["activation_function"]
            changed |= dict.fromkeys(names, self.activation)
        if self.dropout is not None:
            changed["dropout"] = self.dropout
        if self.queries is not None:
            changed["two_stage_num_proposals" if whole.get("two_stage") else "num_queries"] = self.queries
        for setting, widths in ATTENTION_HEADS.items():
            for name, own in widths.items() if (heads := getattr(self, setting)) else ():
                width = own if own in whole else "d_model"
                if whole[width] % heads:
                    raise SettingError(f"{WHERE}.{setting}={heads}: must divide {width} ({whole[width]})")
                changed[name] = heads
        if self.heads is DecoderHeads.per_layer:
            _require_layers(kind, whole)
        return {**given, **changed}

    def apply(self, detr: Any) -> None:
        """Change a model that was built with `config`, in place.

        Call it before weights are loaded: names and shapes of all tensors that it does not add
        stay as they are.
        """
        if self.positions is Positions.learned:
            learn_positions(detr)
        if self.position_scale != 1.0:
            scale_positions(detr, self.position_scale)
        if self.adapter is not None:
            adapt_input(detr, self.adapter, self.adapter_kernel)
        if self.box_depth is not None:
            set_box_depth(detr, self.box_depth)
        adapt_heads(detr, self.class_layers, self.box_layers, self.head_width)
        if self.heads is DecoderHeads.shared:
            share_heads(detr)
        elif self.heads is DecoderHeads.per_layer:
            divide_heads(detr)

    def _require_number(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if value is not None and (not isinstance(value, int) or value < least):
            raise SettingError(f"{WHERE}.{name}={value}: a whole number, at least {least}")


def _require_layers(kind: Family, whole: Mapping[str, Any]) -> None:
    """Refuse heads for each decoder layer where they would not be asked for it."""
    setting = f"{WHERE}.heads={DecoderHeads.per_layer}"
    if not kind.names_layer:
        raise SettingError(f"{setting}: {kind.model} does not say for which layer it asks its box head")
    if not whole.get("auxiliary_loss", True):
        raise SettingError(f"{setting}: only the last layer learns without model.config.auxiliary_loss=true")
