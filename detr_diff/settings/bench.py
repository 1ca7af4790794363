"""The types of the settings of the benchmark."""

from dataclasses import dataclass
from typing import Any, Dict, List, Optional  # noqa: UP035 - omegaconf reads these annotations

from omegaconf import MISSING

from detr_diff.bench.choices import BenchDevice, BenchPart, Reference


@dataclass
class BenchSettings:
    """`detr-diff bench`."""

    out: Optional[str] = MISSING
    parts: List[BenchPart] = MISSING
    reference: str = MISSING
    references: Optional[List[Reference]] = MISSING
    tuned: Dict[str, Any] = MISSING
    ours: List[str] = MISSING
    device: BenchDevice = MISSING
    threads: Optional[int] = MISSING
    turns: int = MISSING
    pairs: int = MISSING
    batch_size: int = MISSING
    accumulate: int = MISSING
    epochs: int = MISSING
    short: bool = MISSING
    debug: bool = MISSING
