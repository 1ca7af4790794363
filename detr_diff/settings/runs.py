"""The types of the settings of train, doctor, evaluate, predict, runs and compare."""

from dataclasses import dataclass
from typing import Any, Dict, List, Optional  # noqa: UP035 - omegaconf reads these annotations

from omegaconf import MISSING

from detr_diff.choices import (
    Augment,
    Cache,
    Diff,
    Normalize,
    OnError,
    Registration,
    RunOrder,
    RunState,
    Split,
    SplitBy,
)
from detr_diff.settings.models import ModelSettings


@dataclass
class UnlabelledSettings:
    """Which frame pairs, whether labelled or not."""

    root: Optional[str] = MISSING
    pairs: Optional[str] = MISSING
    subset: Optional[int] = MISSING
    on_error: Optional[OnError] = MISSING
    batch_size: Optional[int] = MISSING
    num_workers: Optional[int] = MISSING


@dataclass
class SourceSettings(UnlabelledSettings):
    """Which frame pairs."""

    labels: Optional[str] = MISSING
    names: Optional[List[str]] = MISSING
    scene: Optional[str] = MISSING
    split_by: Optional[SplitBy] = MISSING
    split_seed: Optional[int] = MISSING
    val: Optional[float] = MISSING
    test: Optional[float] = MISSING


@dataclass
class CachedSettings(SourceSettings):
    """Which frame pairs, and whether their frames are kept."""

    cache: Cache = MISSING
    cache_dir: str = MISSING
    cache_gb: float = MISSING


@dataclass
class EvaluateDataSettings(CachedSettings):
    """Which frame pairs, and what is done about a camera that shook."""

    registration: Optional[Registration] = MISSING


@dataclass
class TrainDataSettings(CachedSettings):
    """Frame pairs and how they become images."""

    diff: Diff = MISSING
    registration: Registration = MISSING
    light_compensation: bool = MISSING
    augment: Augment = MISSING
    zoom: Optional[List[float]] = MISSING
    pad_to: int = MISSING
    eval_batch_size: Optional[int] = MISSING


@dataclass
class OptimizerSettings:
    """AdamW."""

    weight_decay: float = MISSING
    multiples: Any = MISSING
    layer_decay: Optional[float] = MISSING


@dataclass
class CheckpointSettings:
    """Which checkpoint is the best, and how often a run can be resumed from."""

    monitor: str = MISSING
    every_minutes: float = MISSING
    every_n_steps: int = MISSING


@dataclass
class EarlyStoppingSettings:
    """When to stop before the last epoch."""

    monitor: Optional[str] = MISSING
    patience: Optional[int] = MISSING
    min_delta: float = MISSING


@dataclass
class LossSettings:
    """How the loss is normalised."""

    normalize: Normalize = MISSING


@dataclass
class EmaSettings:
    """The average of the weights."""

    decay: Optional[float] = MISSING


@dataclass
class KeptPrefixSettings:
    """What frozen blocks make of images that stay the same."""

    where: Cache = MISSING
    gb: float = MISSING


@dataclass
class GuardSettings:
    """What stops a training that cannot work."""

    first_batch: int = MISSING
    skips: int = MISSING


@dataclass
class TrainSettings:
    """`detr-diff train`."""

    run_name: str = MISSING
    runs: str = MISSING
    seed: int = MISSING
    resume: bool = MISSING
    debug: bool = MISSING
    overlays: int = MISSING
    bootstrap: int = MISSING
    report: bool = MISSING
    data: TrainDataSettings = MISSING
    model: ModelSettings = MISSING
    optimizer: OptimizerSettings = MISSING
    compile: Optional[str] = MISSING
    gradient_checkpointing: bool = MISSING
    loss: LossSettings = MISSING
    ema: EmaSettings = MISSING
    stages: Dict[str, Any] = MISSING
    checkpoint: CheckpointSettings = MISSING
    early_stopping: EarlyStoppingSettings = MISSING
    kept_prefix: KeptPrefixSettings = MISSING
    guards: GuardSettings = MISSING
    trainer: Dict[str, Any] = MISSING
    logger: Dict[str, Any] = MISSING


@dataclass
class MemoriseSettings:
    """How long the doctor tries whether a few pairs can be learnt by heart."""

    steps: int = MISSING
    seconds: float = MISSING


@dataclass
class DoctorSettings(TrainSettings):
    """`detr-diff doctor`: those of train, and its own."""

    out: Optional[str] = MISSING
    inspect: Optional[int] = MISSING
    shown: int = MISSING
    thorough: bool = MISSING
    memorise: MemoriseSettings = MISSING


@dataclass
class DisturbanceSettings:
    """What is measured with robustness=true."""

    pairs: int = MISSING
    registration: List[Registration] = MISSING
    everywhere: bool = MISSING
    shift: List[float] = MISSING
    rotation: List[float] = MISSING
    gain: List[float] = MISSING
    bias: List[float] = MISSING
    noise: List[float] = MISSING
    blur: List[float] = MISSING
    jpeg: List[float] = MISSING
    swap: List[float] = MISSING


@dataclass
class EvaluateSettings:
    """`detr-diff evaluate`."""

    ckpt_path: Optional[str] = MISSING
    model: Optional[Dict[str, Any]] = None
    split: Split = MISSING
    out: Optional[str] = MISSING
    overlays: int = MISSING
    bootstrap: int = MISSING
    report: bool = MISSING
    seed: int = MISSING
    debug: bool = MISSING
    robustness: bool = MISSING
    disturbances: DisturbanceSettings = MISSING
    data: EvaluateDataSettings = MISSING
    trainer: Dict[str, Any] = MISSING


@dataclass
class PredictSettings:
    """`detr-diff predict`."""

    ckpt_path: str = MISSING
    out: str = MISSING
    before: Optional[str] = MISSING
    after: Optional[str] = MISSING
    threshold: Optional[float] = MISSING
    debug: bool = MISSING
    data: UnlabelledSettings = MISSING
    trainer: Dict[str, Any] = MISSING


@dataclass
class RunsSettings:
    """`detr-diff runs`."""

    runs: str = MISSING
    sort: RunOrder = MISSING
    state: Optional[RunState] = MISSING
    out: Optional[str] = MISSING
    debug: bool = MISSING


@dataclass
class CompareSettings:
    """`detr-diff compare`."""

    runs: List[str] = MISSING
    out: Optional[str] = MISSING
    bootstrap: int = MISSING
    seed: int = MISSING
    debug: bool = MISSING
