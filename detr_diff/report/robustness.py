"""The curves of robustness.csv: what disturbances of the frames cost."""

import csv
from pathlib import Path
from typing import Any

ROBUSTNESS = "robustness.csv"
FIGURES = ("map_50", "map", "f1")


def robustness_curves(path: Path) -> list[dict[str, Any]]:
    """For each disturbance a curve for each registration, for the page's script; none without the file.

    Args:
        path: Columns disturbance, level, registration, map_50, map, f1.

    Returns:
        disturbance, levels (as written), and series: registration to map_50, map and f1 at each of
        the levels, None where there is none.
    """
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    charts = []
    for disturbance in dict.fromkeys(row["disturbance"] for row in rows):
        own = [row for row in rows if row["disturbance"] == disturbance]
        levels = list(dict.fromkeys(row["level"] for row in own))
        series = {}
        for registration in dict.fromkeys(row["registration"] for row in own):
            by_level = {row["level"]: row for row in own if row["registration"] == registration}
            series[registration] = {
                figure: [_number(by_level.get(level, {}).get(figure)) for level in levels]
                for figure in FIGURES
            }
        charts.append({"disturbance": disturbance, "levels": levels, "series": series})
    return charts


def _number(text: str | None) -> float | None:
    return float(text) if text and text != "nan" else None
