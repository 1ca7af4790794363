"""compare.html: a comparison as one file that needs no network."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from detr_diff.evaluation.bootstrap import Interval
from detr_diff.evaluation.contest import JUDGED, Contest, p_text
from detr_diff.evaluation.contest_figure import contest_svg
from detr_diff.evaluation.tables import HEADLINE

TEMPLATE = "contest_page.html.j2"
PAIRS = 10  # shown of those in which the errors differ


def contest_page(contest: Contest, settings: Mapping[str, Sequence[str]], notes: Sequence[str]) -> str:
    """The page.

    Args:
        contest: The comparison.
        settings: Those that differ, to their value in each run.
        notes: What is to be said of the runs.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": _figure, "change": _change, "between": _between, "p": p_text}
    classes = contest.contenders[0].classes
    figures = {key: what for key, what in HEADLINE.items() if key in contest.values[0]}
    if len(classes) == 1:
        figures = {key: what for key, what in figures.items() if not key.endswith("any_class")}
    else:
        figures |= {f"map_50/{name}": f"AP at IoU 0.5 of {name}" for name in classes}
    others = range(1, len(contest.contenders))
    return environment.get_template(TEMPLATE).render(
        contest=contest,
        runs=contest.contenders,
        others=others,
        judged=JUDGED,
        figures=figures,
        settings=settings,
        notes=notes,
        changed={run: contest.changed_pairs(run, PAIRS) for run in others},
        svg=Markup(contest_svg(contest)),  # matplotlib escapes the names in it
    )


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _change(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def _between(interval: Interval, sign: bool = False) -> str:
    if math.isnan(interval[0]):
        return ""
    low, high = (_change(end) if sign else _figure(end) for end in interval)
    return f"{low} to {high}"
