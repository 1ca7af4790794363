"""The charts that papers show, as PNG."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from detr_diff.evaluation.confusion import Confusion
from detr_diff.evaluation.matching import IOU_THRESHOLDS, Matches
from detr_diff.evaluation.score_sweep import SCORE_THRESHOLDS, Sweep, score_sweep
from detr_diff.report.score_curves import precision_recall

MOST_LINES = 8  # more cannot be told apart
# Distinct for the colour-blind too (Okabe and Ito 2008).
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C", "#882255")
LARGEST = 12.0  # inches
AT_50 = IOU_THRESHOLDS.index(0.5)


def draw_figures(
    folder: Path, matches: Matches, names: Sequence[str], threshold: float, confusion: Confusion
) -> None:
    """Write pr_curve.png, f1_curve.png, heat_map.png and confusion.png.

    Args:
        folder: It exists.
        matches: At all IoU thresholds.
        names: Class names; of many, those with most objects are drawn.
        threshold: Score threshold, marked in the figures.
        confusion: At the same threshold.
    """
    sweep = score_sweep(matches, len(names))
    objects = np.bincount(matches.record.object_labels, minlength=len(names))
    # With one class the line of all classes is that of the class.
    chosen = [] if len(names) == 1 else [int(k) + 1 for k in np.argsort(-objects, kind="stable")[:MOST_LINES]]
    lines = [(0, "all classes" if chosen else names[0]), *((row, names[row - 1]) for row in sorted(chosen))]
    _pr_curve(folder / "pr_curve.png", matches, sweep, lines, threshold)
    _f1_curve(folder / "f1_curve.png", sweep, lines, threshold)
    _heat_map(folder / "heat_map.png", sweep, threshold)
    _confusion(folder / "confusion.png", confusion)


def _axes(width: float = 5.0, height: float = 4.0) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _legend(axes: Axes) -> None:
    for text in axes.legend(fontsize=8, frameon=False).get_texts():
        text.set_parse_math(False)


def _pr_curve(
    path: Path, matches: Matches, sweep: Sweep, lines: Sequence[tuple[int, str]], threshold: float
) -> None:
    figure, axes = _axes()
    curves = precision_recall(matches, len(sweep.f1) - 1)
    for colour, (row, name) in zip(COLOURS, lines, strict=False):
        points = curves[row][AT_50]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, label=name, linewidth=1.4)
    precision, recall, _ = sweep.at(threshold)
    axes.plot([recall], [precision], "o", color=COLOURS[0], label=f"score {threshold:.2f}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title="IoU 0.5")
    axes.grid(color="#dddddd", linewidth=0.5)
    _legend(axes)
    figure.savefig(path)


def _f1_curve(path: Path, sweep: Sweep, lines: Sequence[tuple[int, str]], threshold: float) -> None:
    figure, axes = _axes()
    for colour, (row, name) in zip(COLOURS, lines, strict=False):
        axes.plot(SCORE_THRESHOLDS, sweep.f1[row, AT_50], color=colour, label=name, linewidth=1.4)
    axes.axvline(threshold, color="#777777", linewidth=0.8, linestyle="--", label=f"score {threshold:.2f}")
    axes.set(xlabel="score threshold", ylabel="F1", xlim=(0, 1), ylim=(0, 1.02), title="IoU 0.5")
    axes.grid(color="#dddddd", linewidth=0.5)
    _legend(axes)
    figure.savefig(path)


def _heat_map(path: Path, sweep: Sweep, threshold: float) -> None:
    figure, axes = _axes(6.0, 3.2)
    half = 0.005
    extent = (SCORE_THRESHOLDS[0] - half, SCORE_THRESHOLDS[-1] + half, 0.475, 0.975)
    image = axes.imshow(
        sweep.f1[0], origin="lower", aspect="auto", extent=extent, vmin=0, vmax=1, cmap="viridis"
    )
    figure.colorbar(image, ax=axes, label="F1")
    axes.plot([threshold], [0.5], "o", markerfacecolor="none", markeredgecolor="white", markersize=8)
    axes.set(xlabel="score threshold", ylabel="IoU threshold", yticks=IOU_THRESHOLDS[::2])
    figure.savefig(path)


def _confusion(path: Path, confusion: Confusion) -> None:
    count = len(confusion.names)
    # The picture of many classes does not grow with them: 80 took 3 GB.
    figure, axes = _axes(min(LARGEST, 2.6 + 0.5 * count), min(LARGEST, 2.0 + 0.45 * count))
    points = min(8.0, 0.7 * 72 * LARGEST / count)
    counts = confusion.counts
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if count <= 20:  # more numbers could not be read
        for row, column in np.ndindex(count, count):
            colour = "white" if share[row, column] > 0.55 else "black"
            axes.text(
                column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8
            )
    for axis, end in ((axes.xaxis, "not found"), (axes.yaxis, "nothing there")):
        axis.set_ticks(range(count), [*confusion.names[:-1], end], fontsize=points)
        for text in axis.get_ticklabels():
            text.set_parse_math(False)
    for text in axes.get_xticklabels():
        text.set(rotation=45, ha="right", rotation_mode="anchor")
    axes.set(xlabel="predicted", ylabel="true")
    figure.savefig(path)
