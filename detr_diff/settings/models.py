"""The types of the settings of a model."""

from dataclasses import dataclass
from typing import Any, Dict, List, Optional  # noqa: UP035 - omegaconf reads these annotations

from omegaconf import MISSING

from detr_diff.choices import (
    BatchNorm,
    Channels,
    ClassHead,
    Compare,
    CompareLevels,
    DecoderHeads,
    Init,
    Mismatch,
    ModelInput,
    Positions,
    Queries,
)


@dataclass
class TransferSettings:
    """What is taken from pretrained weights, and how it is made to fit."""

    only: Any = MISSING
    mismatch: Mismatch = MISSING
    channels: Channels = MISSING
    queries: Queries = MISSING
    class_head: ClassHead = MISSING
    class_names: Optional[List[str]] = MISSING
    synonyms: Dict[str, str] = MISSING
    init: Init = MISSING
    require: float = MISSING
    batch_norm: BatchNorm = MISSING
    probe: bool = MISSING


@dataclass
class FeatureDiffSettings:
    """How features of two frames are compared."""

    compare: Compare = MISSING
    levels: CompareLevels = MISSING


@dataclass
class ModificationSettings:
    """What is changed of the model."""

    positions: Optional[Positions] = MISSING
    position_scale: Optional[float] = MISSING
    activation: Optional[str] = MISSING
    dropout: Optional[float] = MISSING
    queries: Optional[int] = MISSING
    attention_heads: Optional[int] = MISSING
    decoder_attention_heads: Optional[int] = MISSING
    adapter: Optional[int] = MISSING
    adapter_kernel: Optional[int] = MISSING
    class_layers: Optional[int] = MISSING
    box_layers: Optional[int] = MISSING
    head_width: Optional[int] = MISSING
    box_depth: Optional[int] = MISSING
    heads: Optional[DecoderHeads] = MISSING


@dataclass
class ModelSettings:
    """Which DETR."""

    family: str = MISSING
    input: ModelInput = MISSING
    places: bool = MISSING
    feature_diff: FeatureDiffSettings = MISSING
    pretrained: Optional[str] = MISSING
    processor: Dict[str, Any] = MISSING
    config: Dict[str, Any] = MISSING
    transfer: TransferSettings = MISSING
    modification: ModificationSettings = MISSING
