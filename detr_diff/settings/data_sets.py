"""The types of the settings of the data verbs."""

from dataclasses import dataclass
from typing import List, Optional  # noqa: UP035 - omegaconf reads these annotations

from omegaconf import MISSING

from detr_diff.choices import (
    Diff,
    ExportFormat,
    ImportFormat,
    OnError,
    Pictures,
    Places,
    SplitBy,
)


@dataclass
class SynthSettings:
    """`detr-diff data synth`."""

    out: str = MISSING
    pairs: int = MISSING
    scenes: int = MISSING
    width: int = MISSING
    height: int = MISSING
    seed: int = MISSING
    empty: float = MISSING
    appear: float = MISSING
    shake: float = MISSING
    turn: float = MISSING
    noise: float = MISSING
    debug: bool = MISSING


@dataclass
class DividedSettings:
    """A data set and how it is divided."""

    root: str = MISSING
    pairs: Optional[str] = MISSING
    labels: Optional[str] = MISSING
    names: Optional[List[str]] = MISSING
    scene: Optional[str] = MISSING
    split_by: SplitBy = MISSING
    split_seed: int = MISSING
    val: float = MISSING
    test: float = MISSING


@dataclass
class CheckSourceSettings(DividedSettings):
    """Which frame pairs are checked, and with which diff they shall be learnt."""

    diff: Diff = MISSING


@dataclass
class CheckSettings:
    """`detr-diff data check`."""

    out: Optional[str] = MISSING
    inspect: Optional[int] = MISSING
    shown: int = MISSING
    seed: int = MISSING
    debug: bool = MISSING
    max_objects: Optional[int] = MISSING
    data: CheckSourceSettings = MISSING


@dataclass
class TrackSettings:
    """Pairs out of tracked video."""

    frames: Optional[str] = MISSING
    names: List[str] = MISSING
    distances: List[int] = MISSING
    stride: int = MISSING
    val: float = MISSING
    test: float = MISSING
    gap: int = MISSING
    min_visible: float = MISSING


@dataclass
class CocoSettings:
    """Where the COCO files are."""

    before: Optional[str] = MISSING
    after: Optional[str] = MISSING
    images: Optional[str] = MISSING


@dataclass
class ImportSettings:
    """`detr-diff data import`."""

    format: ImportFormat = MISSING
    src: str = MISSING
    out: str = MISSING
    labels: Places = MISSING
    moved_iou: float = MISSING
    pictures: Pictures = MISSING
    on_error: OnError = MISSING
    debug: bool = MISSING
    mot: TrackSettings = MISSING
    coco: CocoSettings = MISSING


@dataclass
class ExportSourceSettings(DividedSettings):
    """Which frame pairs are exported."""

    on_error: OnError = MISSING


@dataclass
class ExportSettings:
    """`detr-diff data export`."""

    format: ExportFormat = MISSING
    out: str = MISSING
    pictures: Pictures = MISSING
    seed: int = MISSING
    debug: bool = MISSING
    data: ExportSourceSettings = MISSING
