"""Findings about the labels: whether they are those of the pairs, right and complete."""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from detr_diff.choices import Places
from detr_diff.data.convention import LIMIT
from detr_diff.data.finding import FEWEST, Evidence, Finding, Level, percent, some
from detr_diff.data.inspection import OWN, READINGS, Inspection

BETTER = 0.05  # a reading of the labels fits a pair better by at least this
FIT = "1: boxes around all that changed, 0: boxes at random"
IN_BOX = 0.2  # a blob with at most this share of its pixels in boxes has no label


def diagnose_labels(evidence: Evidence) -> Iterator[Finding]:
    """The findings, see the single rules below."""
    misread = list(_other_reading(evidence))
    yield from misread or _misfits(evidence)
    yield from _on_nothing(evidence)
    # Each of these explains the next: boxes elsewhere leave the right places without a label, and
    # so does the convention of labelling one place.
    missing, one_place = list(_missing(evidence)), list(_one_place(evidence))
    if misread:
        return
    if any(finding.level is Level.problem for finding in missing) and not _says_one_place(evidence):
        yield from missing
    else:
        yield from one_place or missing


def _other_reading(evidence: Evidence) -> Iterator[Finding]:
    """Whether the numbers of the labels mean something else, or belong to another pair."""
    fits = _fits(evidence)
    better = {}
    for reading in (*READINGS, "next", "previous"):
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
        what = f"the labels of the {reading} pair fit the change better than the own ones ({figures})"
        remedy = "the label files are one off against the frames: give them the names of their frames"
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


def _says_one_place(evidence: Evidence) -> bool:
    return evidence.places in (Places.after, Places.before)


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


def _missing(evidence: Evidence) -> Iterator[Finding]:
    """Whether there are changes that should have a box."""
    blobs = {name: len(found) for name, found in without_box(evidence.inspected).items()}
    number = sum(blobs.values())
    if not number:
        return
    boxes = sum(len(seen.still) for seen in evidence.inspected.values())
    share = number / (number + 0.75 * boxes)  # a quarter of the boxes hold less than such a blob
    level = Level.suspicious if share > 0.15 else Level.note
    what = f"{number} changed places as large as labelled ones have no box, beside {boxes} boxes"
    # Where one place is labelled by intention, no pair without objects has a change, and no pair
    # with objects is without an unlabelled one.
    empty = [name for name, seen in evidence.inspected.items() if not len(seen.still)]
    full = sum(blobs[name] > 0 for name in empty)
    shares = _unlabelled(evidence)
    whole = sum(own < 0.1 for own in shares.values())
    doubled = share > 0.15 and full >= 3 and full > len(empty) / 4
    halved = _median(shares) > LIMIT and full + whole >= max(3, 0.1 * len(blobs))
    if doubled or halved:
        level = Level.problem
        what += f"; {full} of {len(empty)} pairs without objects have such a place"
    order = sorted((name for name in blobs if blobs[name]), key=lambda name: -blobs[name])
    yield Finding(
        level,
        "labels missing",
        what,
        "the model is told that a moved object is background",
        "label every object that moved, or leave these pairs out",
        {name: f"{some(blobs[name], 'changed place', 'changed places')} without a box" for name in order},
    )


def _one_place(evidence: Evidence) -> Iterator[Finding]:
    """Whether the labels name one place of each moved object, which a symmetric diff cannot tell."""
    shares = _unlabelled(evidence)
    median = _median(shares)
    if not _says_one_place(evidence) and median <= LIMIT:
        return
    said = f"dataset.yaml says labels: {evidence.places}" if evidence.places else ""
    seen = f"{percent(median)} of the changed pixels lie outside every box" if shares else ""
    what = f"only one place of each moved object is labelled: {', '.join(filter(None, (said, seen)))}"
    if not _says_one_place(evidence):
        what = f"it seems that {what}" + (", or that labels are missing" if said else "")
    order = sorted((name for name in shares if shares[name] > LIMIT), key=lambda name: -shares[name])
    pairs = {name: f"{percent(shares[name])} of the change is outside every box" for name in order}
    if evidence.diff.symmetric:
        why = f"with data.diff={evidence.diff} the other place lights up in the same way and is wrong"
        remedy = "label both places, or use data.diff=signed or data.diff=stack"
        yield Finding(Level.problem, "one place labelled", what, why, remedy, pairs)
    else:
        why = f"data.diff={evidence.diff} keeps the order of the frames, which such labels need"
        yield Finding(Level.note, "one place labelled", what, why, "nothing to do", pairs)


def _unlabelled(evidence: Evidence) -> dict[str, float]:
    seen = evidence.inspected.items()
    return {name: own.unlabelled for name, own in seen if own.unlabelled is not None}


def _median(shares: Mapping[str, float]) -> float:
    return float(np.median(list(shares.values()))) if len(shares) >= FEWEST else 0.0


def without_box(inspected: Mapping[str, Inspection]) -> dict[str, npt.NDArray[np.int64]]:
    """Changed blobs that have no label though they are as large as what is labelled.

    As large: more changed pixels, and thicker, than the smallest quarter of the blobs in boxes.

    Returns:
        int64 [K, 4] for each pair, x0 y0 x1 y1 in pixels.
    """
    blobs = {name: inspection.blobs for name, inspection in inspected.items()}
    every = np.concatenate([*blobs.values(), np.zeros((0, 6), np.int64)])
    labelled = every[every[:, 5] > IN_BOX * every[:, 4]]
    if not len(labelled):
        return {name: own[:0, :4] for name, own in blobs.items()}
    large, thick = np.quantile(labelled[:, 4], 0.25), np.quantile(_thickness(labelled), 0.25)
    return {
        name: own[(own[:, 5] <= IN_BOX * own[:, 4]) & (own[:, 4] >= large) & (_thickness(own) >= thick), :4]
        for name, own in blobs.items()
    }


def _thickness(blobs: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return blobs[:, 4] / np.maximum((blobs[:, 2:4] - blobs[:, :2]).max(axis=1, initial=1), 1)
