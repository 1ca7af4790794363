"""Findings about how the data is divided."""

from collections.abc import Iterator

import numpy as np

from detr_diff.choices import SplitBy
from detr_diff.data.finding import Evidence, Finding, Level, percent, some
from detr_diff.data.statistics import Statistics

BY_CHANCE = 0.01  # a class that is missing in validation with a smaller probability is no accident


def diagnose_splits(evidence: Evidence) -> Iterator[Finding]:
    """The findings, see the single rules below."""
    for rule in (_repeated, _scenes, _splits):
        yield from rule(evidence)


def _repeated(evidence: Evidence) -> Iterator[Finding]:
    number, examples = evidence.shared
    why = "the model is scored on what it has learnt by heart"
    remedy = "data.split_by=scene with data.scene, or data.split_by=time"
    if number:
        pairs = {r.pair: f"{r.split} has {r.path.name}, as {r.other_split} has" for r in examples}
        what = f"{some(number, 'frame file is', 'frame files are')} used in two splits"
        yield Finding(Level.problem, "frame in two splits", what, why, remedy, pairs)
    if evidence.repeated:
        pairs = {
            r.pair: f"{r.path.name} of {r.split} is {r.other_path.name} of {r.other_split}"
            for r in evidence.repeated
        }
        what = (
            f"{some(len(evidence.repeated), 'picture is', 'pictures are')} in two splits, in different files"
        )
        remedy = f"keep one of them; {remedy}"
        yield Finding(Level.problem, "picture in two splits", what, why, remedy, pairs)


def _scenes(evidence: Evidence) -> Iterator[Finding]:
    statistics = evidence.statistics
    learnt = np.array([split is not None for split in statistics.splits])[statistics.split]
    known = learnt & (statistics.scene >= 0)
    both = np.unique(np.stack([statistics.scene[known], statistics.split[known]]), axis=1)[0]
    crossing, scenes = int((np.bincount(both) > 1).sum()), len(np.unique(both))
    unknown = not scenes and evidence.one_camera and len(statistics.splits) > 1
    if not crossing and not unknown:
        return
    # auto chooses between scene, which keeps scenes together, and pair.
    by_pair = evidence.split_by in (SplitBy.pair, SplitBy.auto)
    level = Level.problem if scenes >= 3 else Level.suspicious
    what = f"{crossing} of {scenes} scenes have pairs in two splits"
    yield Finding(
        level if by_pair else Level.note,
        "scene in two splits",
        what if crossing else "all frames look like one camera's",
        "neighbours in time are nearly the same picture: figures come out too good"
        if by_pair
        else "the figures are those of cameras that the model knows",
        ("data.split_by=scene" if scenes >= 3 else "data.split_by=time")
        if by_pair
        else "data.split_by=scene tells how it does on a new camera"
        if scenes >= 3
        else "nothing, when the model is for this camera",
    )


def _splits(evidence: Evidence) -> Iterator[Finding]:
    statistics = evidence.statistics
    yield from _validation(statistics)
    if "train" not in statistics.splits:
        yield Finding(
            Level.problem,
            "no training pairs",
            f"none of {len(statistics)} pairs is in train",
            "there is nothing to learn from",
            "see data.split_by, data.val and data.test",
        )
    seen = len(evidence.inspected) + len(evidence.ready_spreads)
    if seen < len(statistics):
        yield Finding(
            Level.note,
            "not all pairs looked at",
            f"{seen} of {len(statistics)} pairs were looked at, picture by picture",
            "figures are a sample; copies of a picture among the others are not found",
            "inspect=null looks at all",
        )


def _validation(statistics: Statistics) -> Iterator[Finding]:
    """Whether the validation part can tell how good a model is."""
    rows = {row["split"]: row for row in statistics.by_split()}
    if not {"train", "val"} <= set(rows) or not rows["train"]["objects"]:
        return
    if not rows["val"]["objects"]:
        yield Finding(
            Level.problem,
            "no objects in validation",
            f"none of {some(rows['val']['pairs'], 'validation pair', 'validation pairs')} has an object",
            "AP is undefined, so no checkpoint is better than another",
            "another data.split_by, data.val or seed; see the split column of pairs.csv",
        )
        return
    learnt, judged = rows["train"]["classes"], rows["val"]["classes"]
    total = sum(learnt.values())
    shares = {name: learnt[name] / total for name in statistics.names if learnt[name] and not judged[name]}
    if shares:
        # Old and new place of an object have the same class.
        seen = rows["val"]["objects"] / 2
        chance = min((1 - share) ** seen for share in shares.values())
        named = ", ".join(
            f"{name} ({percent(share)} of the training objects)" for name, share in shares.items()
        )
        yield Finding(
            Level.suspicious if chance < BY_CHANCE else Level.note,
            "class not in validation",
            f"no object of val is a {named}",
            "the best checkpoint is chosen, and the threshold set, without these classes",
            "another data.split_by, a larger data.val, or another seed",
        )
