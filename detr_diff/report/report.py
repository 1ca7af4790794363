"""The report of one evaluation: index.html, which needs no network, and figures for papers."""

import math
from pathlib import Path
from typing import Any

from detr_diff.evaluation.analysis import Analysis
from detr_diff.evaluation.error_parts import KINDS
from detr_diff.evaluation.error_sweep import error_sweep
from detr_diff.evaluation.headline import Headline
from detr_diff.evaluation.object_size import THIRDS
from detr_diff.evaluation.record import MOST
from detr_diff.evaluation.score_sweep import column
from detr_diff.evaluation.tables import HEADLINE, at_score, by_topic
from detr_diff.report.gallery import chosen_pairs, gallery
from detr_diff.report.html import render_page
from detr_diff.report.learning import learning_curves, stage_tables, transfer_table
from detr_diff.report.paper_figures import draw_figures
from detr_diff.report.plain_table import PlainTable
from detr_diff.report.robustness import ROBUSTNESS, robustness_curves
from detr_diff.report.score_curves import precision_recall, score_counts
from detr_diff.training.results import Results

FOLDER = "report"
PAGE = "index.html"
# What the top of the page shows large, and how it is called there.
CARDS = {
    "map_50": "AP50",
    "map": "AP",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "false_positive_rate": "false alarms",
}


def write_report(out: Path, results: Results, subject: dict[str, str], run_dir: Path | None = None) -> Path:
    """Write the page and the figures.

    Args:
        out: The folder of the run or of the evaluation; the report gets a folder in it. Its
            robustness.csv is shown, if there is one.
        results: Of the evaluation.
        subject: What was evaluated on what, as shown at the top: name of the fact to fact; the first
            one is the title.
        run_dir: A run folder whose learning is shown too.

    Returns:
        The page.
    """
    folder = out / FOLDER
    folder.mkdir(exist_ok=True)
    record = results.record.best(MOST)
    headline = Headline(record, results.names, results.threshold)
    sweep = error_sweep(record)
    rows = chosen_pairs(record, sweep, results.threshold)
    tables = by_topic(results.figures, results.analysis, "headline")
    script = {
        "classes": results.names,
        "counts": score_counts(headline.matches, len(results.names)),
        "curves": precision_recall(headline.matches, len(results.names)),
        "threshold": column(results.threshold),
        "errors": {
            "kinds": [str(kind) for kind in KINDS],
            "counts": sweep.counts.tolist(),
            "costs": [_finite(results.figures[f"map_50_cost_{kind}"]) for kind in KINDS],
        },
        "sizes": THIRDS,
        "calibration": results.analysis.calibration.facts()["bins"],
        "robustness": robustness_curves(out / ROBUSTNESS),
        "learning": None if run_dir is None else learning_curves(run_dir),
        "pairs": gallery(results, record, sweep, rows),
        "all_pairs": len(record.images),
    }
    context = {
        "subject": subject,
        "cards": _cards(results),
        "caution": _caution(results.analysis),
        "tables": {name: PlainTable.of(table) for name, table in tables.items()},
        "confusion": results.analysis.confusion,
        "stages": [] if run_dir is None else stage_tables(run_dir),
        "transfer": None if run_dir is None else transfer_table(run_dir),
        "script": script,
    }
    page = folder / PAGE
    page.write_text(render_page(context), encoding="utf-8")
    draw_figures(folder, headline.matches, results.names, results.threshold, results.analysis.confusion)
    return page


def _caution(analysis: Analysis) -> str | None:
    """What is to be said of the intervals."""
    units = analysis.units
    if analysis.resamples and units.too_few:
        return f"There are no 95 % intervals: {units.too_few}."
    if analysis.intervals and units.caution:
        return f"The 95 % intervals are probably too narrow: {units.caution}."
    return None


def _cards(results: Results) -> list[dict[str, Any]]:
    """The headline numbers that are shown large, with their intervals."""
    cards = []
    for key, name in CARDS.items():
        value = results.figures.get(key, math.nan)
        if math.isnan(value):
            continue
        low, high = results.analysis.intervals.get(key, (math.nan, math.nan))
        between = None if math.isnan(low) else f"{low:.3f} to {high:.3f}"
        what = at_score(HEADLINE[key], results.threshold)
        cards.append({"name": name, "value": f"{value:.3f}", "interval": between, "what": what})
    return cards


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
