"""What differs between the DETR variants, in one table. Adding a family is one row."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import transformers

from detr_diff.choices import ClassLoss
from detr_diff.errors import SettingError, nearest
from detr_diff.model.cuts import (
    DETR_DECODER,
    DETR_ENCODER,
    FEATURE_MAPS,
    HYBRID_ENCODER,
    LAST_FEATURE_MAP,
    Cut,
)

# Blocks from the pixels up. A stage names them to say what learns.
BLOCKS = (
    "stem",
    "layer1",
    "layer2",
    "layer3",
    "layer4",
    "input_projection",
    "encoder",
    "decoder",
    "queries",
    "class_head",
    "box_head",
)

# Shorter ways to name several blocks.
ALIASES = {
    "all": BLOCKS,
    "backbone": BLOCKS[:5],
    "transformer": ("input_projection", "encoder", "decoder", "queries"),
    "heads": ("class_head", "box_head"),
}

_BACKBONE = {
    "stem": r"model\.backbone\.model\.(conv1|bn1|embedder)\.",
    "layer1": r"model\.backbone\.model\.(layer1|encoder\.stages\.0)\.",
    "layer2": r"model\.backbone\.model\.(layer2|encoder\.stages\.1)\.",
    "layer3": r"model\.backbone\.model\.(layer3|encoder\.stages\.2)\.",
    "layer4": r"model\.backbone\.model\.(layer4|encoder\.stages\.3)\.",
}


@dataclass(frozen=True)
class Family:
    """One DETR variant.

    Attributes:
        config: Name of its configuration class in transformers.
        model: Name of its detection class in transformers.
        processor: Name of its image processor class in transformers.
        blocks: Block to regular expression of the parameter names; the first match wins.
        class_loss: What its class loss is divided by.
        multiple_of: What height and width of the input must be a multiple of.
        cuts: Where the outputs of frozen blocks can be kept.
    """

    config: str
    model: str
    processor: str
    blocks: dict[str, str]
    class_loss: ClassLoss
    multiple_of: int = 1
    cuts: tuple[Cut, ...] = (FEATURE_MAPS,)

    @property
    def config_class(self) -> Any:
        """The configuration class."""
        return getattr(transformers, self.config)

    @property
    def model_class(self) -> Any:
        """The detection class."""
        return getattr(transformers, self.model)

    @property
    def processor_class(self) -> Any:
        """The image processor class."""
        return getattr(transformers, self.processor)


FAMILIES = {
    # Carion et al. 2020, arXiv:2005.12872
    "detr": Family(
        config="DetrConfig",
        model="DetrForObjectDetection",
        processor="DetrImageProcessor",
        blocks=_BACKBONE
        | {
            "input_projection": r"model\.input_projection\.",
            "encoder": r"model\.encoder\.",
            "decoder": r"model\.decoder\.",
            "queries": r"model\.query_position_embeddings\.",
            "class_head": r"class_labels_classifier\.",
            "box_head": r"bbox_predictor\.",
        },
        class_loss=ClassLoss.queries,
        cuts=(LAST_FEATURE_MAP, DETR_ENCODER, DETR_DECODER),
    ),
    # Zhao et al. 2023, arXiv:2304.08069. The queries are picked from the encoder by enc_output.
    "rt_detr": Family(
        config="RTDetrConfig",
        model="RTDetrForObjectDetection",
        processor="RTDetrImageProcessor",
        blocks=_BACKBONE
        | {
            "input_projection": r"model\.encoder_input_proj\.",
            "encoder": r"model\.encoder\.",
            "class_head": r"model\.(enc_score_head|denoising_class_embed|decoder\.class_embed)\.",
            "box_head": r"model\.(enc_bbox_head|decoder\.bbox_embed)\.",
            "decoder": r"model\.(decoder|decoder_input_proj)\.",
            "queries": r"model\.(enc_output|weight_embedding)\.",
        },
        class_loss=ClassLoss.objects,
        multiple_of=32,
        cuts=(FEATURE_MAPS, HYBRID_ENCODER),
    ),
}


def family(name: str) -> Family:
    """The family of that name.

    Raises:
        SettingError: There is none.
    """
    if name not in FAMILIES:
        raise SettingError(f"model.family={name}: unknown, {nearest(name, FAMILIES)}")
    return FAMILIES[name]


def expand(blocks: list[str], setting: str) -> tuple[str, ...]:
    """Blocks and aliases as blocks, in their order from the pixels up.

    Args:
        blocks: Block names or aliases (all, backbone, transformer, heads).
        setting: Where they were written, for the error message.

    Raises:
        SettingError: An unknown name.
    """
    chosen: set[str] = set()
    for name in blocks:
        if name not in BLOCKS and name not in ALIASES:
            raise SettingError(f"{setting}: unknown block {name!r}, {nearest(name, [*BLOCKS, *ALIASES])}")
        chosen.update(ALIASES.get(name, (name,)))
    return tuple(block for block in BLOCKS if block in chosen)


def contract(blocks: Collection[str]) -> list[str]:
    """Blocks by their aliases, where all blocks of an alias are among them."""
    left, names = list(blocks), []
    for alias, members in ALIASES.items():
        if set(members) <= set(left):
            names.append(alias)
            left = [block for block in left if block not in members]
    return [*names, *left]
