"""bench.png and scaling.png."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from detr_diff.bench.measurement import REFERENCES, Row
from detr_diff.bench.result import Curve

# Distinct for the colour-blind too (Okabe and Ito 2008).
COLOURS = {"plain": "#0072B2", "tuned": "#D55E00"}
GREY = "#4d4d4d"
COLUMNS = 3


def draw_ratios(path: Path, rows: Sequence[Row], device: str) -> None:
    """How many times longer the reference takes, one bar for each row and reference."""
    shown = [row for row in rows if row.ratios]
    references = [name for name in REFERENCES if any(name in row.ratios for row in shown)]
    height = 0.8 / max(1, len(references))
    figure = Figure(figsize=(9, 1.4 + 0.36 * max(1, len(shown))), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, name in enumerate(references):
        places = [place + (number - (len(references) - 1) / 2) * height for place in range(len(shown))]
        values = [row.ratios.get(name, float("nan")) for row in shown]
        bars = axes.barh(places, values, height, color=COLOURS[name], label=f"{name} reference")
        axes.bar_label(bars, [f" {value:.1f}" for value in values], fontsize=8)
    axes.axvline(1, color=GREY, linewidth=1)
    axes.set_yticks(range(len(shown)), [f"{row.part}: {row.case}" for row in shown], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.12)
    axes.set_xlabel("times longer than ours")
    axes.set_title(device, fontsize=9)
    if references:
        axes.legend(fontsize=8)
    figure.savefig(path)


def draw_curves(path: Path, curves: Sequence[Curve], device: str) -> None:
    """Pairs per second, one small figure for each curve."""
    columns = min(COLUMNS, len(curves))
    lines = -(-len(curves) // columns)
    figure = Figure(figsize=(3.4 * columns, 2.8 * lines + 0.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(lines, columns)
    for number, curve in enumerate(curves):
        axes = figure.add_subplot(grid[number // columns, number % columns])
        axes.plot(curve.values, curve.rates, marker="o", markersize=4, color=COLOURS["plain"])
        if min(curve.values) > 0 and max(curve.values) / min(curve.values) >= 100:
            axes.set_xscale("log")
        else:
            axes.set_xticks(curve.values, [f"{value:g}" for value in curve.values])
        axes.set_ylim(0, 1.1 * max(curve.rates))
        axes.set_title(curve.title, fontsize=9)
        axes.set_xlabel(curve.over, fontsize=8)
        axes.set_ylabel("pairs per second", fontsize=8)
        axes.grid(alpha=0.3)
    figure.suptitle(device, fontsize=9)
    figure.savefig(path)
