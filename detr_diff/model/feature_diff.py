"""Feature diff: one backbone sees both frames, and their features are compared instead of their pixels."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from detr_diff.choices import Compare, CompareLevels
from detr_diff.errors import SettingError
from detr_diff.model.cuts import FRAME_MAPS
from detr_diff.model.families import Family
from detr_diff.model.feature_comparison import COMPARISONS, FeatureComparison

FAMILIES = ("detr", "conditional_detr", "deformable_detr", "rt_detr")
COMPARED = r"model\.backbone\.comparison\."

Levels = list[tuple[Tensor, Tensor]]  # features [B, C, h, w] with masks [B, h, w]


@dataclass(frozen=True)
class FeatureDiff:
    """How features are compared.

    Attributes:
        compare: See Compare.
        levels: Whether every level is compared, or the last alone; the others are then those of
            the after frame.
    """

    compare: Compare
    levels: CompareLevels

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "FeatureDiff":
        """From the words of a configuration or a checkpoint."""
        return cls(Compare(settings["compare"]), CompareLevels(settings["levels"]))

    def settings(self) -> dict[str, str]:
        """Primitives, for a checkpoint."""
        return {"compare": str(self.compare), "levels": str(self.levels)}


def with_feature_diff(family: Family) -> Family:
    """The family as it is when features are compared.

    What the comparison learns belongs to the input projection; a backbone that is frozen ends
    before it.
    """
    projection = f"({family.blocks['input_projection']}|{COMPARED})"
    return replace(
        family,
        blocks={**family.blocks, "input_projection": projection},
        cuts=tuple(FRAME_MAPS if cut.last == "layer4" else cut for cut in family.cuts),
    )


def require_feature_diff(name: str) -> None:
    """Refuse a family that has not been tried.

    Raises:
        SettingError: It is none of FAMILIES.
    """
    if name not in FAMILIES:
        raise SettingError(f"model.input=feature_diff: not for {name}, but for {', '.join(FAMILIES)}")


def compare_features(detr: Any, family: Family, settings: FeatureDiff) -> None:
    """Let a model take both frames as six channels; changed in place.

    The names of its tensors stay as they are, so that pretrained weights fit.
    """
    detr.model.backbone = FeatureDiffBackbone(detr.model.backbone, family.single_level, settings)


def single_frame(backbone: Any) -> Any:
    """The backbone of one frame: what a FeatureDiffBackbone runs over both, or the backbone itself."""
    return backbone.frames.encoder if isinstance(backbone, FeatureDiffBackbone) else backbone


class FeatureDiffBackbone(nn.Module):
    """In the place of a backbone: both frames, [B, 6, H, W], to the compared levels.

    Args:
        encoder: The backbone.
        single_level: Whether only its last level is looked at.
        settings: How the levels are compared.
    """

    def __init__(self, encoder: Any, single_level: bool, settings: FeatureDiff) -> None:
        super().__init__()
        self.model = encoder.model
        self.frames = Frames(encoder, single_level)
        sizes = list(encoder.intermediate_channel_sizes)[-1 if single_level else 0 :]
        self.intermediate_channel_sizes = sizes
        compare = COMPARISONS[settings.compare]
        others = compare if settings.levels is CompareLevels.all else FeatureComparison
        self.comparison = nn.ModuleList([*(others(size) for size in sizes[:-1]), compare(sizes[-1])])

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> Levels:
        """Images [B, 6, H, W] and masks [B, H, W] to levels, see the class."""
        levels = self.frames(pixel_values, pixel_mask)
        compared = zip(self.comparison, levels, strict=True)
        return [(compare(*features.chunk(2, dim=1), mask), mask) for compare, (features, mask) in compared]


class Frames(nn.Module):
    """The features of both frames, before comparison: [B, 6, H, W] to levels [B, 2 C, h, w].

    Args:
        encoder: The backbone; it runs once, over a batch of 2 B.
        single_level: Whether only its last level is looked at.
    """

    def __init__(self, encoder: nn.Module, single_level: bool) -> None:
        super().__init__()
        # In a list it is no submodule: its tensors have their names from FeatureDiffBackbone.model.
        self._encoder = [encoder]
        self._from = -1 if single_level else 0

    @property
    def encoder(self) -> nn.Module:
        """The backbone."""
        return self._encoder[0]

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> Levels:
        """Images [B, 6, H, W] and masks [B, H, W] to levels, see the class."""
        frames, size = torch.cat(pixel_values.chunk(2, dim=1)), len(pixel_values)
        levels = self.encoder(frames, pixel_mask.repeat(2, 1, 1))[self._from :]
        return [(torch.cat(features.chunk(2), dim=1), mask[:size]) for features, mask in levels]
