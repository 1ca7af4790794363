"""robustness.csv and its table: what a model endures."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from detr_diff.choices import Disturbance, Registration

UNITS = {
    Disturbance.shift: "px",
    Disturbance.rotation: "degrees",
    Disturbance.gain: "share",
    Disturbance.bias: "grey levels",
    Disturbance.noise: "grey levels",
    Disturbance.blur: "px",
    Disturbance.jpeg: "100 - quality",
    Disturbance.swap: "share of pairs",
}


class Endured(NamedTuple):
    """Figures on pairs that are disturbed in one way.

    Attributes:
        disturbance: What is done to the before frame.
        level: How much, in `UNITS`.
        registration: How the frames are aligned afterwards.
        map_50: AP at IoU 0.5.
        map: AP, mean over IoU 0.5 to 0.95.
        f1: At the score threshold of the model, IoU 0.5.
        pairs: Number of pairs.
    """

    disturbance: Disturbance
    level: float
    registration: Registration
    map_50: float
    map: float
    f1: float
    pairs: int


def write_robustness(path: Path, rows: Sequence[Endured]) -> None:
    """A row for each disturbance, level and registration method."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Endured._fields)
        for row in rows:
            figures = ("" if value != value else f"{value:.6g}" for value in (row.map_50, row.map, row.f1))
            writer.writerow([row.disturbance, f"{row.level:g}", row.registration, *figures, row.pairs])


def robustness_table(rows: Sequence[Endured]) -> Table:
    """AP50 by level, the registration methods in columns."""
    methods = list(dict.fromkeys(row.registration for row in rows))
    title = f"AP50 by registration, {rows[0].pairs} disturbed pairs"
    table = Table("disturbance", "level", *methods, title=title)
    found = {(row.disturbance, row.level, row.registration): row.map_50 for row in rows}
    last = None
    for kind, level in dict.fromkeys((row.disturbance, row.level) for row in rows):
        values = (found.get((kind, level, method)) for method in methods)
        cells = ["" if value is None else "-" if value != value else f"{value:.3f}" for value in values]
        table.add_row(f"{kind}, {UNITS[kind]}" if kind != last else "", f"{level:g}", *cells)
        last = kind
    return table
