"""The backbone of a DETR: its levels, its blocks, and whether it fits."""

import re
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from detr_diff.errors import SettingError
from detr_diff.model.families import BACKBONE

# A ResNet's blocks by the stride at which they end; other backbones are divided the same way.
BLOCK_OF_STRIDE = {1: "stem", 2: "stem", 4: "layer1", 8: "layer2", 16: "layer3", 32: "layer4"}
STEM = re.compile(r"(stem|patch_embed|conv_stem)[._]")

# Backbones of transformers: stages or layers of an encoder.
NATIVE = {
    "stem": r"(embedder|embeddings|stem)\.",
    "layer1": r"(encoder\.(stages|layers)\.0|hidden_states_norms\.stage1)\.",
    "layer2": r"(encoder\.(stages|layers)\.1|hidden_states_norms\.stage2)\.",
    "layer3": r"(encoder\.(stages|layers)\.2|hidden_states_norms\.stage3)\.",
    "layer4": r"(encoder\.(stages|layers)\.3|hidden_states_norms\.stage4)\.",
}


def require_fit(detr: Any, channels: int) -> None:
    """Refuse a backbone that does not give feature maps of an image of any size.

    Raises:
        SettingError: It fails on a small image, or its features are not [B, C, H, W].
    """
    encoder = detr.model.backbone
    height, width = 96, 160
    config = detr.config.backbone_config
    where = f"model.config.backbone={getattr(config, 'backbone', config.model_type)}"
    training = encoder.training
    try:
        with torch.no_grad():
            levels = encoder.eval()(torch.zeros(1, channels, height, width), torch.ones(1, height, width))
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        raise SettingError(f"{where}: fails on a {width}x{height} image: {reason}") from error
    finally:
        encoder.train(training)
    for (features, _), expected in zip(levels, encoder.intermediate_channel_sizes, strict=True):
        if features.ndim != 4 or features.shape[1] != expected:
            raise SettingError(
                f"{where}: its features are {list(features.shape)} for a {width}x{height} image, "
                f"not [1, {expected}, height, width]"
            )


def backbone_blocks(detr: nn.Module) -> Callable[[str], str | None]:
    """A function from the name of a parameter or module in the backbone to its block.

    Args:
        detr: The model. The names that the function takes begin after `model.backbone.model.`; a
            module's ends in a dot.
    """
    found = next(((n, m) for n, m in detr.named_modules() if hasattr(m, "feature_info")), None)
    if found is None:
        return _native_block
    name, module = found
    prefix = f"{name}.".removeprefix(BACKBONE)
    blocks = _timm_blocks(module)
    return lambda part: _nearest_owner(blocks, part.removeprefix(prefix).rstrip("."))


def _native_block(part: str) -> str | None:
    return next((block for block, pattern in NATIVE.items() if re.match(pattern, part)), None)


def _nearest_owner(blocks: dict[str, str], part: str) -> str | None:
    while part:
        if part in blocks:
            return blocks[part]
        part = part.rpartition(".")[0]
    return None


def _timm_blocks(backbone: Any) -> dict[str, str]:
    """Module name to block: a module belongs to the first level that ends with or after it."""
    order = [name for name, _ in backbone.named_modules() if name]
    levels = backbone.feature_info.info
    ends = []
    for level, block in zip(levels, _blocks_of([level["reduction"] for level in levels]), strict=True):
        inside = [index for index, name in enumerate(order) if _within(name, level["module"])]
        if inside:
            ends.append((max(inside), block))
    return {
        name: "stem"
        if STEM.match(f"{name}.")
        else next((block for end, block in ends if index <= end), "layer4")
        for index, name in enumerate(order)
    }


def _within(name: str, level: str) -> bool:
    # Where timm flattens a model, the dots in the name of a level have become underscores.
    flat, level = name.replace(".", "_"), level.replace(".", "_")
    return flat == level or flat.startswith(f"{level}_")


def _blocks_of(strides: Iterable[int]) -> list[str]:
    """The block in which each level ends; equal strides are divided into four equal parts."""
    listed = list(strides)
    if len(set(listed)) == len(listed):
        return [BLOCK_OF_STRIDE.get(stride, "layer4") for stride in listed]
    return [f"layer{1 + 4 * index // len(listed)}" for index in range(len(listed))]
