"""Findings about the labels: whether they are those of the pairs, right and complete."""

from collections.abc import Iterator, Mapping

import numpy as np

from detr_diff.data.finding import FEWEST, Evidence, Finding, Level, some
from detr_diff.data.inspection import OWN, READINGS
from detr_diff.data.label_places import diagnose_places

BETTER = 0.05  # a reading of the labels fits a pair better by at least this
FIT = "1: boxes around all that changed, 0: boxes at random"


def diagnose_labels(evidence: Evidence) -> Iterator[Finding]:
    """The findings, see the single rules below."""
    misread = list(_other_reading(evidence))
    yield from _on_nothing(evidence)
    if misread:  # boxes elsewhere leave the right places without a label, no other fault
        yield from misread
        return
    misfits = list(_misfits(evidence))
    if any(bad.level is Level.problem for bad in misfits):  # labels of something else miss every place
        yield from misfits
        return
    places = list(diagnose_places(evidence))
    yield from places
    incomplete = any(finding.level is Level.problem for finding in places)
    # Incomplete labels fit badly here and there, which says nothing new.
    yield from (bad for bad in misfits if not (incomplete and bad.level is Level.note))


def _other_reading(evidence: Evidence) -> Iterator[Finding]:
    """Whether the numbers of the labels mean something else, or belong to another pair."""
    fits = _fits(evidence)
    better = {}
    for reading in dict.fromkeys(name for own in fits.values() for name in own if name != OWN):
        both = [(own[OWN], own[reading]) for own in fits.values() if reading in own]
        wins = sum(other > own + BETTER for own, other in both)
        if len(both) >= FEWEST and wins > len(both) / 2:
            own_fit, other_fit = np.median(both, axis=0)
            figures = f"in {wins} of {len(both)} pairs; fit {own_fit:.2f}, then {other_fit:.2f}"
            better[reading] = (float(other_fit), f"{figures}; {FIT}")
    if not better:
        return
    reading, (_, figures) = max(better.items(), key=lambda item: item[1][0])
    pairs = _worst({name: own[OWN] for name, own in fits.items()})
    why = "a model learns boxes where nothing is"
    if reading in READINGS:
        what = f"the boxes fit the change better when they are read as {reading} ({figures})"
        remedy = f"write the label files as class {OWN}, divided by width and height of the image"
        yield Finding(Level.problem, "labels in another format", what, why, remedy, pairs)
    else:
        what = f"the labels of the {reading} fit the change better than the own ones ({figures})"
        remedy = "the label files are shifted by one: rename each after its frames"
        yield Finding(Level.problem, "labels of another pair", what, why, remedy, pairs)


def _misfits(evidence: Evidence) -> Iterator[Finding]:
    """Whether the labels have anything to do with the pictures."""
    fits = {name: own[OWN] for name, own in _fits(evidence).items()}
    median = float(np.median(list(fits.values()))) if fits else 1.0
    bad = {name: fit for name, fit in fits.items() if fit < 0.2}
    if not bad:
        return
    level = Level.suspicious if len(bad) > len(fits) / 4 else Level.note
    yield Finding(
        Level.problem if median < 0.1 and len(fits) >= FEWEST else level,
        "labels do not fit",
        f"the boxes of {len(bad)} of {len(fits)} pairs hardly fit the change "
        f"(median fit of all {median:.2f}; {FIT})",
        "no model can learn boxes that have nothing to do with the picture",
        "see that data.labels is the label folder of these frames, that the names of frames and labels "
        "belong together, and that the frames of a pair show the same view",
        _worst(bad),
    )


def _fits(evidence: Evidence) -> dict[str, dict[str, float]]:
    return {name: seen.fits for name, seen in evidence.inspected.items() if OWN in seen.fits}


def _worst(fits: Mapping[str, float]) -> dict[str, str]:
    order = sorted(fits, key=lambda name: fits[name])
    return {name: f"fit of its boxes to the change: {fits[name]:.2f}" for name in order}


def _on_nothing(evidence: Evidence) -> Iterator[Finding]:
    """Whether there are boxes of what the diff does not show."""
    still = {name: int(seen.still.sum()) for name, seen in evidence.inspected.items()}
    boxes = sum(len(seen.still) for seen in evidence.inspected.values())
    number = sum(still.values())
    if not number:
        return
    share = number / boxes
    level = Level.problem if share > 0.5 else Level.suspicious if share > 0.1 else Level.note
    order = sorted((name for name in still if still[name]), key=lambda name: -still[name])
    yield Finding(
        level if boxes >= FEWEST else Level.note,
        "boxes on nothing",
        f"nothing changed under {number} of {boxes} boxes, in {len(order)} pairs",
        "the model is asked for objects that the diff does not show",
        "look at these pairs; leave out objects that did not move or cannot be seen",
        {name: f"nothing changed under {some(still[name], 'box', 'boxes')}" for name in order},
    )
