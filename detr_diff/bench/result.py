"""The result of a benchmark: bench.json and the tables."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from detr_diff.bench.measurement import REFERENCES, Row

SAME_LOSS = 1e-3  # relative difference up to which two losses are the same
SAME_AP = 1e-3
# Of what a launch records, all that a time depends on; the rest is whose machine it is.
KEPT = ("time", "detr_diff", "git", "python", "platform", "packages", "cpu", "memory_gb", "threads", "cuda")


@dataclass(frozen=True)
class Curve:
    """Pairs per second over something.

    Attributes:
        title: What is measured.
        over: What changes.
        values: Of what changes.
        rates: Pairs per second at each.
    """

    title: str
    over: str
    values: list[float]
    rates: list[float]


@dataclass
class Result:
    """All that was found.

    Attributes:
        device: Its name.
        machine: What a time depends on, see provenance.environment.
        settings: Of the benchmark.
        rows: Of the table.
        losses: Network to side to the loss of the same batch with the same weights.
        pixels: Network to side to height and width of the images of that batch.
        curves: Of scaling.
        gpu: Peak and bandwidth, operations of steps, their parts beside their floors, largest batches;
            empty without a GPU.
    """

    device: str
    machine: dict[str, Any]
    settings: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    losses: dict[str, dict[str, float]] = field(default_factory=dict)
    pixels: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    curves: list[Curve] = field(default_factory=list)
    gpu: dict[str, Any] = field(default_factory=dict)

    def same_loss(self) -> dict[str, bool]:
        """Network to whether all sides compute the same loss on images of the same size."""
        found = {}
        for network, losses in self.losses.items():
            own = losses.get("ours")
            others = [loss for side, loss in losses.items() if side == "plain"]
            sizes = {tuple(size) for size in self.pixels[network].values()}
            near = own is not None and all(abs(loss - own) <= SAME_LOSS * abs(own) for loss in others)
            found[network] = near and bool(others) and len(sizes) == 1
        return found

    def write(self, path: Path) -> None:
        """bench.json."""
        content = {
            "device": self.device,
            "machine": {key: self.machine.get(key) for key in KEPT},
            "settings": self.settings,
            "same_loss": self.same_loss(),
            "losses": self.losses,
            "pixels": self.pixels,
            "rows": [
                {**asdict(row), "median": {side: row.median(side) for side in row.seconds}}
                for row in self.rows
            ],
            "curves": [asdict(curve) for curve in self.curves],
            **({"gpu": self.gpu} if self.gpu else {}),
        }
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def tables(self) -> Iterator[Table]:
        """What a reader sees."""
        sides = [side for side in (*REFERENCES, "ours") if any(side in row.seconds for row in self.rows)]
        references = [side for side in sides if side in REFERENCES]
        if self.rows:
            yield times(self.rows, sides, references, self.device)
        if there := [row for row in self.rows if any("gpu_memory_mb" in own for own in row.figures.values())]:
            yield rates(there, sides, self.gpu)
        for case, parts in self.gpu.get("parts", {}).items():
            table = Table("part", "ms", "ms by operations", "ms by bytes", title=f"floors: {case}")
            for part in parts:
                keys = ("seconds", "by_operations", "by_bytes")
                table.add_row(part["part"], *(f"{1e3 * part[key]:.3g}" for key in keys))
            yield table
        if largest := self.gpu.get("largest_batch"):
            table = Table("largest batch", *sides)
            for title, sizes in largest.items():
                table.add_row(title, *(str(sizes.get(side, "-")) for side in sides))
            yield table
        if self.curves:
            table = Table("curve", "over", "pairs per second", title=f"scaling on {self.device}")
            for curve in self.curves:
                points = (f"{v:g}: {r:.3g}" for v, r in zip(curve.values, curve.rates, strict=True))
                table.add_row(curve.title, curve.over, ", ".join(points))
            yield table

    def remarks(self) -> Iterator[str]:
        """Whether both sides did the same, and what failed."""
        for network, same in self.same_loss().items():
            losses = ", ".join(f"{side} {loss:.6g}" for side, loss in self.losses[network].items())
            yield f"{'same loss' if same else 'NOT THE SAME LOSS'}: {network}: {losses}"
        for row in self.rows:
            if len(sizes := {tuple(own["pixels"]) for own in row.figures.values() if own.get("pixels")}) > 1:
                yield f"NOT THE SAME SIZE: {row.part}: {row.case}: {sorted(sizes)}"
            found = {side: own["map"] for side, own in row.figures.items() if "map" in own}
            if len(found) > 1 and max(found.values()) - min(found.values()) > SAME_AP:
                yield f"NOT THE SAME AP: {row.part}: {row.case}: {found}"
            for side, reason in row.failed.items():
                yield f"failed: {row.part}: {row.case}: {side}: {reason}"


def times(rows: Sequence[Row], sides: Sequence[str], references: Sequence[str], device: str) -> Table:
    """Medians, ratios and peak memory."""
    table = Table("part", "case", "s a", title=f"medians on {device}")
    for heading in (*sides, *(f"{side} / ours (CPU)" for side in references), "GB " + " ".join(sides)):
        table.add_column(heading, justify="right")
    for row in rows:
        medians = [_number(row.median(side)) for side in sides]
        ratios = [f"{_number(row.ratios.get(s))} ({_number(row.cpu_ratios.get(s))})" for s in references]
        peaks = [row.figures.get(side, {}).get("memory_mb") for side in sides]
        memory = " ".join("-" if peak is None else f"{peak / 1024:.1f}" for peak in peaks)
        table.add_row(row.part, row.case, row.unit, *medians, *ratios, memory)
    return table


def rates(rows: Sequence[Row], sides: Sequence[str], gpu: dict[str, Any]) -> Table:
    """What a GPU was used for: pairs per second, utilisation, share of the peak, memory."""
    table = Table("part", "case", title="GPU: pairs per second, busy %, share of the bf16 peak %, GB")
    for side in sides:
        table.add_column(side, justify="right")
    for row in rows:
        cells = []
        for side in sides:
            own, seconds = row.figures.get(side, {}), row.median(side)
            if seconds is None or row.pairs is None:
                cells.append("-")
                continue
            share = "-"
            if (counted := gpu.get("operations", {}).get(row.case)) is not None:
                share = f"{100 * counted / seconds / gpu['peak']:.1f}"
            memory = own.get("gpu_memory_mb")
            known = [f"{row.pairs / seconds:.1f}", _number(own.get("utilisation")), share]
            cells.append(" / ".join([*known, "-" if memory is None else f"{memory / 1024:.1f}"]))
        table.add_row(row.part, row.case, *cells)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
