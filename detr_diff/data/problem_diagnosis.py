"""Many problems of files and lines as a few findings, one for each cause."""

import re
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from detr_diff.data.finding import Finding, Level, percent, some
from detr_diff.data.problem import Problem

FEW = 0.05  # a smaller share of spoilt pairs may be left out without a second thought

# What the messages of check, discovery and labels have in common, and their finding: name, why, remedy.
KINDS = (
    (
        r"is outside \[0, 1\]",
        "boxes outside the frame",
        "such a box cannot be learnt",
        "clip the boxes at the border of the frame",
    ),
    (
        r"^class \S+ is (unknown|not an integer)",
        "class ids without a name",
        "the number of a class must be an index into the names, from 0",
        "see names in dataset.yaml or data.names, and the first number of each line",
    ),
    (
        r"label file of pair .* is missing",
        "label files missing",
        "a missing label file is an error; a pair without objects needs an empty one",
        "see that data.labels is the right label folder; write an empty file where nothing moved",
    ),
    (
        r"objects, but the model has \d+ queries",
        "fewer queries than objects",
        "a query finds one object; objects beyond the queries are never learnt",
        "a larger model.config.num_queries: twice the most objects of an image",
    ),
    (
        r"pixels, 8 bits a channel expected",
        "frames not of 8 bits",
        "16-bit and floating point frames become black or white when they are cut to 8 bits",
        "write the frames with 8 bits a channel, their range of values stretched to 0 to 255",
    ),
    (
        r"unreadable image|not a readable image|no such file",
        "unreadable frames",
        "there is nothing to look at",
        "mend or remove these files; see the paths in pairs.csv",
    ),
    (
        r"pixels, but its before frame has",
        "frames of two sizes",
        "the frames of a pair are compared pixel by pixel",
        "see that both are of the same camera, and in the same size",
    ),
    (
        r"a ready diff image, but the model needs both frames",
        "no before frames",
        "the diff needs both frames",
        "data.diff=abs, or give the before frames",
    ),
    (r"the same object as line", "repeated lines", "one object would count twice", "remove the second line"),
    (
        r"fields, 5 expected|is not a number|must be greater than 0",
        "label lines in another format",
        "a line must be: class cx cy w h, divided by the image size",
        "convert the labels: detr-diff data import knows several formats",
    ),
)
OTHER = ("files with problems", "these pairs cannot be used", "see each line")


def diagnose_problems(
    problems: Sequence[Problem], names: Sequence[str], used: Collection[int], pairs: int, skipped: bool
) -> list[Finding]:
    """One finding for each kind of problem, the one that spoils most pairs first.

    Args:
        problems: Of all files.
        names: Class names.
        used: Class numbers that the usable pairs have.
        pairs: Number of pairs, the spoilt ones too.
        skipped: Whether training leaves spoilt pairs out; else it refuses the data.
    """
    groups: dict[str, list[Problem]] = {}
    for problem in problems:
        groups.setdefault(_kind(problem.message)[0], []).append(problem)
    order = sorted(groups.values(), key=lambda group: -len({problem.pair for problem in group}))
    return [finding for group in order for finding in _finding(group, names, used, pairs, skipped)]


def _kind(message: str) -> tuple[str, str, str]:
    return next(((name, why, do) for pattern, name, why, do in KINDS if re.search(pattern, message)), OTHER)


def _finding(
    group: Sequence[Problem], names: Sequence[str], used: Collection[int], pairs: int, skipped: bool
) -> Iterator[Finding]:
    first: dict[str, str] = {}
    for problem in group:
        first.setdefault(problem.pair or str(problem.path), str(problem))
    share = len(first) / max(1, pairs)
    level = Level.problem
    if skipped:
        level = Level.note if share <= FEW else Level.suspicious if share < 0.5 else Level.problem
    name, why, remedy = _kind(group[0].message)
    if name == "boxes outside the frame":
        values = [abs(float(found[1])) for p in group if (found := re.match(r"\w+ (\S+) is", p.message))]
        if np.median(values) > 2:
            name, why = "boxes in pixels", "boxes are shares of the image; pixels give a loss of thousands"
            remedy = "divide cx and w by the width of the image, cy and h by its height"
    if name == "class ids without a name" and 0 not in used:
        ids = {found[1] for p in group if (found := re.match(r"class (\d+) is unknown", p.message))}
        if ids == {str(len(names))}:
            name, why = (
                "classes counted from 1",
                "class numbers count from 0: every class is taken for the next",
            )
            remedy = "take 1 from the class number of every line"
    yield Finding(
        level,
        name,
        f"{some(len(group), 'problem', 'problems')} in {len(first)} of {pairs} pairs ({percent(share)}), "
        f"first: {group[0]}",
        why if skipped else f"{why}; training refuses such data",
        f"{remedy}; data.on_error=skip leaves these pairs out" if share <= FEW and not skipped else remedy,
        first,
    )
