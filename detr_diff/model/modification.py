"""Modification: a DETR with other positions, activations, heads or an adapter; all else stays as it is."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from transformers.activations import ACT2FN

from detr_diff.choices import Positions
from detr_diff.errors import SettingError, nearest
from detr_diff.model.adapter import adapt_heads, adapt_input
from detr_diff.model.families import Family
from detr_diff.model.positions import learn_positions, scale_positions

WHERE = "model.modification"

# The configurations of the families have one name or another for the same.
ACTIVATION = ("encoder_activation_function", "decoder_activation_function")
ATTENTION_HEADS = {"encoder_attention_heads": "encoder_hidden_dim", "decoder_attention_heads": "d_model"}


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
        adapter: Channels of an adapter convolution between backbone and transformer; None: none.
        adapter_kernel: Its size, an odd number.
        class_layers: So many residual layers more before the class head.
        box_layers: The same before the box head.
    """

    positions: Positions | None = None
    position_scale: float = 1.0
    activation: str | None = None
    dropout: float | None = None
    queries: int | None = None
    attention_heads: int | None = None
    adapter: int | None = None
    adapter_kernel: int = 3
    class_layers: int = 0
    box_layers: int = 0

    def __post_init__(self) -> None:
        for name, least in (("queries", 1), ("attention_heads", 1), ("adapter", 1), ("adapter_kernel", 1)):
            self._require_number(name, least)
        for name in ("class_layers", "box_layers"):
            self._require_number(name, 0)
        if self.adapter_kernel % 2 == 0:
            raise SettingError(f"{WHERE}.adapter_kernel={self.adapter_kernel}: an odd number")
        if self.position_scale < 0:
            raise SettingError(f"{WHERE}.position_scale={self.position_scale}: a number from 0")
        if self.dropout is not None and not 0.0 <= self.dropout < 1.0:
            raise SettingError(f"{WHERE}.dropout={self.dropout}: a share from 0 to below 1")
        if self.activation is not None and self.activation not in ACT2FN:
            raise SettingError(f"{WHERE}.activation={self.activation}: {nearest(self.activation, ACT2FN)}")
        if self.positions is not None:
            if self.positions not in list(Positions):
                raise SettingError(
                    f"{WHERE}.positions={self.positions}: {nearest(self.positions, Positions)}"
                )
            object.__setattr__(self, "positions", Positions(self.positions))

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
        plain = {**asdict(self), "positions": None if self.positions is None else str(self.positions)}
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
            SettingError: A number of attention heads that does not fit.
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
        if self.attention_heads is not None:
            for name, own in ATTENTION_HEADS.items():
                width = own if own in whole else "d_model"
                size, heads = whole[width], self.attention_heads
                if size % heads:
                    raise SettingError(f"{WHERE}.attention_heads={heads}: must divide {width} ({size})")
                changed[name] = self.attention_heads
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
        adapt_heads(detr, self.class_layers, self.box_layers)

    def _require_number(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if value is not None and (not isinstance(value, int) or value < least):
            raise SettingError(f"{WHERE}.{name}={value}: a whole number, at least {least}")
