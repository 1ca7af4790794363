"""How a run learned: curves, stages, parameter groups and transferred weights, from its folder."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from detr_diff.report.plain_table import PlainTable
from detr_diff.training.metrics_file import read_metrics
from detr_diff.training.run_folder import CONFIG

Points = list[tuple[float, float]]
MOST = 400  # points of a curve; the chart has not many more pixels
# Title, unit of the y axis, and the columns of metrics.csv; a last * stands for the rest of a name.
CHARTS = (
    ("Loss", "loss", ("train/loss", "val/loss")),
    ("Quality on validation pairs", "", ("val/map", "val/map_50", "val/f1")),
    ("Parts of the training loss", "loss", ("train/loss_*",)),
    ("Learning rate by block", "learning rate", ("lr/*",)),
)
Rows = list[dict[str, str]]


def learning_curves(run_dir: Path) -> dict[str, Any]:
    """The curves of metrics.csv and the stages, for the page's script.

    Returns:
        stages: name, first and last step of each; charts: title, unit, and series with name and
        points (step, value). Learning rates that are always equal share a curve.
    """
    rows = read_metrics(run_dir / "metrics.csv")
    charts = []
    for title, unit, columns in CHARTS:
        series = _series(rows, columns)
        if columns == ("lr/*",):
            series = _shared(series)
        if series:
            shown = [{"name": name, "points": _thinned(points)} for name, points in series.items()]
            charts.append({"title": title, "unit": unit, "series": shown})
    return {"stages": _stages(run_dir, rows), "charts": charts}


def stage_tables(run_dir: Path) -> list[PlainTable]:
    """What learned in each stage: parameters and peak learning rate of each block."""
    rows = read_metrics(run_dir / "metrics.csv")
    names = _stage_names(run_dir)
    tables = []
    for row in (row for row in rows if row.get("stage")):
        number = int(float(row["stage"]))
        blocks = [key.removeprefix("trainable/") for key in row if key.startswith("trainable/") and row[key]]
        cells = []
        for block in blocks:
            trainable, rate = float(row[f"trainable/{block}"]), float(row[f"peak_lr/{block}"])
            learns = [f"{trainable:,.0f}", f"{rate:g}"] if trainable else ["0", "frozen"]
            cells.append([block, *learns])
        cells.append(["all", f"{float(row['trainable_parameters']):,.0f}", ""])
        title = f"Stage {number}: {_name(names, number)}, from step {row['step']}"
        tables.append(PlainTable(title, ["block", "parameters that learn", "peak learning rate"], cells))
    return tables


def transfer_table(run_dir: Path) -> PlainTable | None:
    """How many tensors of each block came from where; None when the run has no report.json."""
    path = run_dir / "report.json"
    if not path.exists():
        return None
    transfer = json.loads(path.read_text(encoding="utf-8"))["transfer"]
    blocks: dict[str, dict[str, int]] = transfer["blocks"]
    actions = list(dict.fromkeys(action for row in blocks.values() for action in row))
    cells = [[block, *(str(row.get(action, "")) for action in actions)] for block, row in blocks.items()]
    notes = [f"{transfer['bit_for_bit']} tensors equal the source bit for bit"]
    if transfer["naming"]:
        notes.append(f"the source has the names of {transfer['naming']}")
    if transfer["backbone_share"] is not None:
        notes.append(f"{transfer['backbone_share']:.0%} of the backbone's tensors arrived")
    if transfer["classes"]:
        named = (f"{ours} from {theirs or 'nothing'}" for ours, theirs in transfer["classes"].items())
        notes.append(f"class rows: {', '.join(named)}")
    return PlainTable(f"Tensors from {transfer['source']}", ["block", *actions], cells, "; ".join(notes))


def _series(rows: Rows, columns: Sequence[str]) -> dict[str, Points]:
    known = list(dict.fromkeys(key for row in rows for key in row))
    found = {}
    for column in columns:
        prefix = column.removesuffix("*")
        for key in known if column.endswith("*") else [column]:
            if key.startswith(prefix):
                points = [(float(row["step"]), float(row[key])) for row in rows if row.get(key)]
                # A skipped step has no loss, and validation without objects no AP.
                points = [point for point in points if math.isfinite(point[1])]
                if points:
                    name = key.removeprefix(prefix) if column.endswith("*") else key
                    found[name] = points
    return found


def _shared(series: dict[str, Points]) -> dict[str, Points]:
    together: dict[tuple[tuple[float, float], ...], list[str]] = {}
    for name, points in series.items():
        together.setdefault(tuple(points), []).append(name)
    if len(together) == 1 and len(series) > 1:
        return {"all blocks": list(next(iter(together)))}
    return {", ".join(names): list(points) for points, names in together.items()}


def _thinned(points: Points) -> Points:
    step = max(1, -(-len(points) // MOST))
    return [*points[:-1:step], points[-1]]


def _stages(run_dir: Path, rows: Rows) -> list[dict[str, Any]]:
    names = _stage_names(run_dir)
    begun = [(int(float(row["stage"])), int(row["step"])) for row in rows if row.get("stage")]
    last = max((int(row["step"]) for row in rows), default=0)
    ends = [*(first for _, first in begun[1:]), last]
    return [
        {"name": _name(names, number), "first": first, "last": end}
        for (number, first), end in zip(begun, ends, strict=True)
    ]


def _stage_names(run_dir: Path) -> list[str]:
    config = yaml.safe_load((run_dir / CONFIG).read_text(encoding="utf-8"))
    return [str(name) for name in config["stages"]]


def _name(names: Sequence[str], number: int) -> str:
    return names[number - 1] if 0 < number <= len(names) else str(number)
