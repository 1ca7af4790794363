"""robustness.png: AP50 over the level of each disturbance, one curve for each registration method."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from detr_diff.choices import Disturbance, Registration
from detr_diff.evaluation.robustness import UNITS, Endured

# Distinct for the colour-blind too (Okabe and Ito 2008).
COLOURS = {
    Registration.none: "#4d4d4d",
    Registration.phase: "#0072B2",
    Registration.ecc: "#D55E00",
    Registration.orb: "#009E73",
}
COLUMNS = 4


def draw_robustness(path: Path, rows: Sequence[Endured]) -> None:
    """Write the figure as a PNG."""
    kinds = list(dict.fromkeys(row.disturbance for row in rows))
    columns = min(COLUMNS, len(kinds))
    lines = -(-len(kinds) // columns)
    figure = Figure(figsize=(3 * columns + 0.5, 2.7 * lines + 0.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(lines, columns)
    for number, kind in enumerate(kinds):
        axes = figure.add_subplot(grid[number // columns, number % columns])
        _curves(axes, [row for row in rows if row.disturbance is kind], kind)
        axes.tick_params(labelleft=number % columns == 0)
        if number % columns == 0:
            axes.set_ylabel("AP50")
    methods = list(dict.fromkeys(row.registration for row in rows))
    handles = [
        figure.axes[0].plot([], [], color=COLOURS[method], marker="o", markersize=4, label=method)[0]
        for method in methods
    ]
    figure.legend(
        handles=handles, title="registration", loc="outside lower center", ncols=len(methods), frameon=False
    )
    figure.savefig(path, format="png")


def _curves(axes: Axes, rows: Sequence[Endured], kind: Disturbance) -> None:
    methods = list(dict.fromkeys(row.registration for row in rows))
    for place, method in enumerate(methods):
        own = [row for row in rows if row.registration is method]
        # Curves that run together are all seen: the first is the widest.
        width = 1.3 + 0.7 * (len(methods) - 1 - place)
        x, y = [row.level for row in own], [row.map_50 for row in own]
        axes.plot(x, y, color=COLOURS[method], linewidth=width, marker="o", markersize=2 + width)
    axes.set(ylim=(0, 1), xlabel=f"{kind}, {UNITS[kind]}")
    axes.set_xlim(left=0)
    axes.grid(color="#c8c8c8", linewidth=0.6)
    axes.set_axisbelow(True)
