"""metrics.csv: every figure of a run over the steps."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor


class MetricsFile:
    """metrics.csv: one row for every call, one column for every key.

    A row is written in one piece, and a new column by a whole new file, so that a kill at any
    moment costs no more than the row that was being written.

    Args:
        path: The file.
        resumed_step: Optimizer steps done in the checkpoint that a run goes on from; rows of later
            steps are dropped, the resumed run writes them again. None: a new run.
    """

    def __init__(self, path: Path, resumed_step: int | None = None) -> None:
        self.path = path
        self.keys: list[str] = []
        rows = []
        if resumed_step is not None and path.exists():
            rows = [row for row in read_metrics(path) if int(row["step"]) < resumed_step]
        self._write_anew(rows)

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Add a row."""
        plain = {key: value.item() if isinstance(value, Tensor) else value for key, value in metrics.items()}
        row = {**plain, "step": step}
        if row.keys() - set(self.keys):
            self._write_anew([*read_metrics(self.path), row])
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.keys).writerow(row)

    def _write_anew(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.keys = sorted({key for row in rows for key, value in row.items() if value != ""})
        unfinished = self.path.with_name(f"{self.path.name}.tmp")
        with unfinished.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.keys, extrasaction="ignore")
            if self.keys:
                writer.writeheader()
            writer.writerows(rows)
        os.replace(unfinished, self.path)


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv; a last one that was not written to its end is left out."""
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    return list(csv.DictReader(io.StringIO(whole)))


def read_curves(path: Path, names: Sequence[str]) -> dict[str, tuple[list[float], list[float]]]:
    """Learning curves: optimizer steps and values of those figures that the file has.

    Raises:
        ValueError: It is not a file of numbers.
    """
    curves: dict[str, tuple[list[float], list[float]]] = {}
    rows = read_metrics(path)
    for name in names:
        points = [(float(row["step"]), float(row[name])) for row in rows if row.get(name)]
        if points:
            steps, values = zip(*points, strict=True)
            curves[name] = list(steps), list(values)
    return curves
