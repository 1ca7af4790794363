"""compare.png: final figures with intervals, and learning curves, of several runs."""

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from detr_diff.evaluation.contender import Contender
from detr_diff.evaluation.contest import JUDGED, Contest

# Distinct for the colour-blind too, on white and on black (Okabe and Ito 2008, then Tol 2021).
COLOURS = (
    *("#0077BB", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#AA4499", "#999933", "#8C8C8C", "#EE3377"),
)
CURVES = {f"val/{key}": f"validation {name}" for key, name in JUDGED.items()} | {
    "val/loss": "validation loss",
    "train/loss": "training loss",
}
INK = "#1f2328"
POINTS = 1500  # drawn of a curve; the figure has fewer pixels
SMOOTH = 0.02  # of a long training loss: the share of the points that is averaged


def draw_contest(path: Path, contest: Contest) -> None:
    """Write the figure as a PNG."""
    _figure(contest).savefig(path, format="png")


def contest_svg(contest: Contest) -> str:
    """The figure as an element of a page; its ink has the colour of the text around it."""
    stream = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": "contest", "svg.fonttype": "path"}):
        _figure(contest).savefig(stream, format="svg", transparent=True, metadata=nothing)
    text = stream.getvalue()
    return text[text.index("<svg") :].replace(INK, "currentColor")


def _figure(contest: Contest) -> Figure:
    runs = contest.contenders
    shown = [name for name in CURVES if any(name in run.curves for run in runs)]
    tall = 1.0 + 0.32 * len(runs)
    heights = [tall] + [3.0] * (-(-len(shown) // 3))
    size = (11, sum(heights) + 0.8 + 0.25 * len(runs))
    figure = Figure(figsize=size, dpi=120, layout=ConstrainedLayoutEngine(h_pad=0.12))
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(heights), 3, height_ratios=heights)
    for column, (key, name) in enumerate(JUDGED.items()):
        axes = figure.add_subplot(grid[0, column])
        _intervals(axes, contest, key)
        axes.set_title(f"{name} and 95 % interval", fontsize=10, color=INK)
        axes.tick_params(labelleft=column == 0)
    for number, name in enumerate(shown):
        axes = figure.add_subplot(grid[1 + number // 3, number % 3])
        _curves(axes, runs, name)
    handles = [
        figure.axes[0].plot([], [], color=_colour(number), linewidth=2, label=run.name)[0]
        for number, run in enumerate(runs)
    ]
    if shown:
        columns = max(1, min(4, 100 // (6 + max(len(run.name) for run in runs))))
        legend = figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
        for text in legend.get_texts():
            text.set(parse_math=False, color=INK)
    return figure


def _intervals(axes: Axes, contest: Contest, key: str) -> None:
    for number, (values, intervals) in enumerate(zip(contest.values, contest.intervals, strict=True)):
        value, (low, high) = values[key], intervals[key]
        axes.plot([low, high], [number, number], color=_colour(number), linewidth=2, solid_capstyle="butt")
        axes.plot([value], [number], marker="o", color=_colour(number), markersize=5)
    axes.axvline(contest.values[0][key], color=INK, linewidth=0.8, linestyle=":")
    axes.set(ylim=(len(contest.values) - 0.5, -0.5))
    axes.set_yticks(range(len(contest.contenders)), [run.name for run in contest.contenders])
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5))
    _ink(axes, "x")


def _curves(axes: Axes, runs: Sequence[Contender], name: str) -> None:
    for number, run in enumerate(runs):
        if name not in run.curves:
            continue
        steps, values = (np.asarray(column) for column in run.curves[name])
        width = 1 + int(SMOOTH * len(values)) if name.startswith("train/") else 1
        means = np.convolve(values, np.full(width, 1 / width), "valid")
        chosen = np.unique(np.linspace(0, len(means) - 1, min(len(means), POINTS)).round().astype(int))
        marker = "." if len(means) < 30 else None
        axes.plot(
            steps[width - 1 :][chosen], means[chosen], color=_colour(number), linewidth=1.5, marker=marker
        )
    axes.set_xlim(left=0)
    axes.set_title(CURVES[name], fontsize=10, color=INK)
    axes.set_xlabel("optimizer step", fontsize=9, color=INK)
    low, high = axes.dataLim.intervaly
    if name.endswith("loss") and 0 < 10 * low < high:  # on less than a decade there would be no ticks
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(matplotlib.ticker.LogFormatter(minor_thresholds=(3, 1)))
        axes.yaxis.set_minor_formatter(matplotlib.ticker.LogFormatter(minor_thresholds=(3, 1)))
    _ink(axes, "both")


def _ink(axes: Axes, grid: str) -> None:
    axes.grid(axis=grid, color="#8c8c8c", alpha=0.35, linewidth=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=INK, labelsize=9)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]
