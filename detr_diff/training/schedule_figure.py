"""schedule.png: the learning rate of every block over the steps, as planned."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

Curve = npt.NDArray[np.float64]

# Distinct for the colour-blind too (Okabe and Ito 2008, then Tol 2021); as many as there are blocks.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
    *("#882255", "#999933", "#AA4499", "#8C8C8C"),
)
STYLES = ("-", "--", ":")  # when there are more curves than colours
SHADES = ("#f4f4f4", "#e3e7ec")
APART = 15.0  # a log axis when the peaks are more than so many times apart
LINE = 110  # letters of the legend that fit beside each other
MOST = 4000  # steps drawn; the figure has fewer pixels


@dataclass(frozen=True)
class Span:
    """A stage on the figure: its name, and how many optimizer steps and epochs it has."""

    name: str
    steps: int
    epochs: int


def drawn_steps(spans: Sequence[Span], most: int = MOST) -> list[int]:
    """The steps whose rates are enough to draw a long plan: evenly spaced, and the ends of each stage."""
    total = sum(span.steps for span in spans)
    even = np.linspace(0, total - 1, min(total, most)).round().astype(int).tolist()
    ends = list(accumulate(span.steps for span in spans))
    return sorted({*even, *(end - 1 for end in ends), *(end for end in ends if end < total)})


def draw_schedule(
    path: Path,
    spans: Sequence[Span],
    rates: Mapping[str, Sequence[float]],
    steps: Sequence[int] | None = None,
    aliases: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write `schedule_figure` as a PNG; an older one is overwritten."""
    schedule_figure(spans, rates, steps, aliases).savefig(path, format="png")


def schedule_figure(
    spans: Sequence[Span],
    rates: Mapping[str, Sequence[float]],
    steps: Sequence[int] | None = None,
    aliases: Mapping[str, Sequence[str]] | None = None,
) -> Figure:
    """The learning rates; blocks with the same curve share a line, a frozen block has none.

    Args:
        spans: The stages in order.
        rates: Block to its learning rate at each of the steps, 0 where it does not learn.
        steps: The optimizer steps of the rates, ascending; None: all, from 0.
        aliases: Shorter names for several blocks together, as {"heads": ["class_head", "box_head"]}.

    Raises:
        ValueError: Rates that are no numbers from 0, or not as many as steps.
    """
    total = sum(span.steps for span in spans)
    at = np.arange(total) if steps is None else np.asarray(steps)
    curves = [(_label(blocks, aliases or {}), curve) for curve, blocks in _shared(rates, len(at))]

    figure = Figure(figsize=(11, 5.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _shade(axes, spans)
    # Curves that run together for a while are all seen: the first is the widest, the last on top.
    widths = np.linspace(min(1.5 * len(curves), 6.0), 1.5, len(curves))
    for number, ((label, curve), width) in enumerate(zip(curves, widths, strict=True)):
        axes.plot(
            *_with_gaps(at, curve),
            color=COLOURS[number % len(COLOURS)],
            linestyle=STYLES[number // len(COLOURS) % len(STYLES)],
            linewidth=width,
            label=label,
            solid_joinstyle="round",
            solid_capstyle="butt",
        )
    _scale(axes, spans, at, [curve for _, curve in curves])
    axes.set(xlim=(0, total), xlabel="optimizer step", ylabel="learning rate")
    axes.grid(axis="y", color="#c8c8c8", linewidth=0.6)
    axes.set_axisbelow(True)
    epochs = axes.secondary_xaxis("top", functions=_epochs_of_steps(spans))
    epochs.set_xlabel("epoch")
    epochs.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    frozen = _label([block for block, values in rates.items() if not any(values)], aliases or {})
    if frozen:
        axes.plot([], [], color="none", label=f"frozen: {frozen}")
    _legend(figure, axes)
    return figure


def _shared(rates: Mapping[str, Sequence[float]], count: int) -> list[tuple[Curve, list[str]]]:
    """Each different curve that is ever above 0, with its blocks; the one that learns longest first."""
    groups: dict[bytes, tuple[Curve, list[str]]] = {}
    for block, values in rates.items():
        curve = np.asarray(values, np.float64)
        if curve.shape != (count,):
            raise ValueError(f"{block}: {len(curve)} rates for {count} steps")
        if not np.isfinite(curve).all() or (curve < 0).any():
            raise ValueError(f"{block}: a rate is not a number from 0")
        if curve.any():
            groups.setdefault(curve.tobytes(), (curve, []))[1].append(block)
    return sorted(groups.values(), key=lambda group: -int(np.count_nonzero(group[0])))


def _label(blocks: Sequence[str], aliases: Mapping[str, Sequence[str]]) -> str:
    """The names of blocks; of several together where they have one, the longest first."""
    left = list(blocks)
    for alias, members in sorted(aliases.items(), key=lambda item: -len(item[1])):
        if len(members) > 1 and set(members) <= set(left):
            left[left.index(members[0])] = alias
            left = [name for name in left if name == alias or name not in members]
    return ", ".join(left)


def _legend(figure: Figure, axes: Axes) -> None:
    """The names under the axes, as many side by side as fit."""
    lines, labels = axes.get_legend_handles_labels()
    columns = max(1, min(len(labels), LINE // (max(map(len, labels), default=1) + 8)))
    labels = [fill(label, LINE) for label in labels]
    legend = figure.legend(lines, labels, loc="outside lower center", ncols=columns, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _with_gaps(at: npt.NDArray[np.int_], curve: Curve) -> tuple[Curve, Curve]:
    """Points of a line that holds each rate until its step is over and is broken where the rate is 0."""
    shown = np.where(curve > 0, curve, np.nan)
    # The last step before a gap is as wide as any other, or a single one would not be seen.
    ends = np.flatnonzero((curve[:-1] > 0) & (curve[1:] == 0)) + 1
    x, y = np.insert(at.astype(np.float64), ends, at[ends]), np.insert(shown, ends, curve[ends - 1])
    return np.append(x, at[-1] + 1.0), np.append(y, shown[-1])


def _shade(axes: Axes, spans: Sequence[Span]) -> None:
    """A band with the name for each stage."""
    total = sum(span.steps for span in spans)
    first = 0
    for number, span in enumerate(spans):
        axes.axvspan(first, first + span.steps, color=SHADES[number % 2], linewidth=0, zorder=0)
        # A letter takes about 1/120 of the width.
        narrow = span.steps / total < (len(span.name) + 2) / 120
        axes.text(
            first + span.steps / 2,
            0.98,
            span.name,
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="top",
            rotation=90 if narrow else 0,
            parse_math=False,
            color="#444444",
        )
        first += span.steps


def _scale(axes: Axes, spans: Sequence[Span], at: npt.NDArray[np.int_], curves: Sequence[Curve]) -> None:
    """A log axis when the peaks of blocks and stages are decades apart, with room for the names above.

    Below the lowest peak it is linear, so that a cosine is seen to end near 0.
    """
    ends = list(accumulate(span.steps for span in spans))
    stage = np.searchsorted(ends, at, side="right")
    peaks = [float(curve[stage == n].max(initial=0.0)) for curve in curves for n in range(len(spans))]
    peaks = [peak for peak in peaks if peak > 0]
    if not peaks:
        return
    low, high = min(peaks), max(peaks)
    if high > APART * low:
        axes.set_yscale("symlog", linthresh=10.0 ** math.floor(math.log10(low / 3)), linscale=0.5)
        axes.set_ylim(0, high * 2.5)
    else:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
        axes.set_ylim(0, high * 1.12)


def _epochs_of_steps(spans: Sequence[Span]) -> tuple[Callable[[Any], Curve], Callable[[Any], Curve]]:
    """Step to epoch and back; straight within a stage, whose batch size is one."""
    steps = [0, *accumulate(span.steps for span in spans)]
    epochs = [0, *accumulate(span.epochs for span in spans)]

    def to_epoch(step: Any) -> Curve:
        return np.interp(step, steps, epochs)

    def to_step(epoch: Any) -> Curve:
        return np.interp(epoch, epochs, steps)

    return to_epoch, to_step
