"""An evaluation as tables for the terminal, one for each topic."""

import math
from collections.abc import Mapping

import numpy as np
from rich.table import Table

from detr_diff.evaluation.analysis import Analysis
from detr_diff.evaluation.calibration import BINS
from detr_diff.evaluation.error_parts import KINDS
from detr_diff.evaluation.headline import ANY_CLASS
from detr_diff.evaluation.object_size import COCO_SIZES
from detr_diff.text import fits

CONFUSIONS = 20  # where the matrix does not fit
HEADLINE = {
    "loss": "of training, on these pairs",
    "unaligned": "pairs whose frames could not be aligned",
    "not_finite": "pairs with predictions that are no numbers, which are left out",
    "map": "AP, mean over IoU 0.5 to 0.95",
    "map_50": "AP at IoU 0.5",
    "map_75": "AP at IoU 0.75",
    "map_50_any_class": "AP at IoU 0.5, classes not told apart",
    "mar_100": "largest recall, mean over IoU 0.5 to 0.95",
    "precision": "at the score threshold, IoU 0.5",
    "recall": "at the score threshold, IoU 0.5",
    "f1": "at the score threshold, IoU 0.5",
    "f1_any_class": "at the score threshold, IoU 0.5, classes not told apart",
    "place_accuracy": "of found objects, whether the box is their old or new place",
    "link_accuracy": "objects whose two places were found and linked",
    "link_precision": "links that are of one object",
    "best_f1": "at the best threshold of these pairs",
    "best_threshold": "score threshold of best F1 on these pairs",
    "false_positive_rate": "still pairs with a false alarm",
    "false_positives_per_still_pair": "false alarms in a still pair",
    "ece": "distance of score and precision",
}


def tables(figures: Mapping[str, float], analysis: Analysis, title: str) -> list[Table]:
    """Tables of headline numbers, classes, sizes, confusion, errors and scores.

    Args:
        figures: By their names, without a prefix.
        analysis: Of the same evaluation.
        title: Of the first table.
    """
    return list(by_topic(figures, analysis, title).values())


def by_topic(figures: Mapping[str, float], analysis: Analysis, title: str) -> dict[str, Table]:
    """The same tables as `headline`, `classes` (unless there is one only), `sizes`, ..."""
    found = {"headline": _headline(figures, len(analysis.objects) == 1, title, analysis)}
    if len(analysis.objects) > 1:
        found["classes"] = _classes(figures, analysis)
    return found | {
        "sizes": _sizes(figures, analysis),
        "confusion": _confusion(analysis),
        "errors": _errors(figures, analysis),
        "scores": _scores(analysis),
    }


def at_score(what: str, threshold: float) -> str:
    """What a figure is, with the score threshold as a number."""
    return what.replace("the score threshold", f"score {threshold:.2f}")


def _headline(figures: Mapping[str, float], one_class: bool, title: str, analysis: Analysis) -> Table:
    table = Table("figure", "value", title=title)
    if analysis.intervals:
        units = analysis.units
        table.add_column("95 % interval")
        table.caption = f"95 % intervals: {analysis.resamples} resamples of {units.number} {units.kind}s"
        if units.caution:
            table.caption += f"; probably too narrow: {units.caution}"
    elif analysis.resamples:
        table.caption = f"no intervals: {analysis.units.too_few}"
    table.add_column("what")
    shown = {key: what for key, what in HEADLINE.items() if key in figures}
    for key, what in shown.items():
        if one_class and key.endswith(ANY_CLASS):
            continue
        what = at_score(what, figures["score_threshold"])
        if "still pair" in what:
            what = f"{what} ({analysis.still_pairs} pairs)"
        between = [_interval(analysis, key)] if analysis.intervals else []
        table.add_row(key, _number(figures[key]), *between, what)
    return table


def _classes(figures: Mapping[str, float], analysis: Analysis) -> Table:
    columns = ("map", "map_50", "precision", "recall", "f1")
    table = Table("class", "objects", *columns, title="by class")
    for name, number in analysis.objects.items():
        table.add_row(name, str(number), *(_number(figures[f"{key}/{name}"]) for key in columns))
    return table


def _sizes(figures: Mapping[str, float], analysis: Analysis) -> Table:
    table = Table("size", "side in px", "objects", "map", title="by size of the object, √area")
    if analysis.intervals:
        table.add_column("95 % interval")
    table.add_column("largest recall")
    for name, (low, high) in analysis.sizes.items():
        sides = f"{math.sqrt(low):.0f} to {math.sqrt(high):.0f}" if high < 1e9 else f"{math.sqrt(low):.0f} on"
        origin = "COCO" if name in COCO_SIZES else "third"
        between = [_interval(analysis, f"map_{name}")] if analysis.intervals else []
        values = (_number(figures[f"map_{name}"]), *between, _number(figures[f"mar_{name}"]))
        table.add_row(f"{name} ({origin})", sides, str(analysis.objects_by_size[name]), *values)
    return table


def _confusion(analysis: Analysis) -> Table:
    """All counts, or where these do not fit the most frequent confusions."""
    counts, classes = analysis.confusion.counts, analysis.confusion.names[:-1]
    predicted, true = [*classes, "not found"], [*classes, "nothing there"]
    title = "confusion at the score threshold, IoU 0.5"
    table = Table("true \\ predicted", *predicted, title=title)
    for name, row in zip(true, counts.tolist(), strict=True):
        table.add_row(name, *(str(count) for count in row))
    if fits(table):
        return table
    wrong = counts * (1 - np.eye(len(counts), dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[: min(CONFUSIONS, np.count_nonzero(wrong))]
    table = Table("true", "predicted", "times", title=title)
    table.caption = (
        f"the most frequent {len(order)} of {np.count_nonzero(wrong)} confusions; the report has all"
    )
    for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True):
        table.add_row(true[row], predicted[column], str(wrong[row, column]))
    return table


def _errors(figures: Mapping[str, float], analysis: Analysis) -> Table:
    table = Table("error", "at the score threshold", "costs AP50", title="kinds of errors (TIDE)")
    for kind in KINDS:
        table.add_row(kind, str(analysis.errors[kind]), _number(figures[f"map_50_cost_{kind}"]))
    return table


def _scores(analysis: Analysis) -> Table:
    table = Table("score", "predictions", "mean score", "right", title="are scores what they say?")
    bins = analysis.calibration
    for index, made in enumerate(bins.made.tolist()):
        if made:
            values = (_number(bins.mean_score()[index]), _number(bins.precision()[index]))
            table.add_row(f"{index / BINS:.1f} to {(index + 1) / BINS:.1f}", f"{made:.0f}", *values)
    return table


def _interval(analysis: Analysis, key: str) -> str:
    low, high = analysis.intervals.get(key, (math.nan, math.nan))
    return "-" if math.isnan(low) else f"{low:.3f} to {high:.3f}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
