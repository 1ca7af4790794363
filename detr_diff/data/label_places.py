"""Findings about the places that the labels name: after, before or both, and all of them."""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from detr_diff.choices import Places
from detr_diff.data.convention import LIMIT
from detr_diff.data.finding import FEWEST, Evidence, Finding, Level, percent, some
from detr_diff.data.inspection import Inspection

IN_BOX = 0.2  # a blob with at most this share of its pixels in boxes has no label


def diagnose_places(evidence: Evidence) -> Iterator[Finding]:
    """The findings, see the single rules below."""
    shares = _unlabelled(evidence)
    sides = _sides(evidence)
    said = evidence.places in (Places.after, Places.before)
    measured = _median(shares) > LIMIT
    if said or (measured and _one_sided(evidence, sides)):
        yield _one_place(evidence, shares, said)
        yield from _swapped(evidence, sides)
    else:
        yield from _missing(evidence, measured)


def _one_sided(evidence: Evidence, sides: Mapping[str, float]) -> bool:
    """Whether the boxes of each pair hold what is in the same frame, and the other places do not.

    Where labels are missing at random, places of both kinds have a box, and places of both kinds
    have none. Too few boxes to tell count as one-sided, which is the commoner case.
    """
    own = [seen.in_after[~seen.still] for seen in evidence.inspected.values()]
    numbers = np.array([len(boxes) for boxes in own if len(boxes)])
    means = np.array([boxes.mean() for boxes in own if len(boxes)])
    if (numbers - 1).sum() < FEWEST or len(sides) < FEWEST:
        return True
    # 1 when all boxes of a pair agree, 0 when each is drawn at random; without bias for few boxes.
    purity = (numbers * (2 * means - 1) ** 2 - 1).sum() / (numbers - 1).sum()
    return bool(purity > 0.5 and np.mean(np.abs(list(sides.values()))) > 0.5)


def _sides(evidence: Evidence) -> dict[str, float]:
    """For each pair how much more the boxes hold what is in the after frame than the other places do.

    1: the labels name the AFTER places and the BEFORE places have none; -1: the other way round;
    about 0: labels of both places are there and are missing. Pairs without unlabelled places have none.
    """
    sides = {}
    for name, blobs in without_box(evidence.inspected).items():
        seen = evidence.inspected[name]
        boxes = seen.in_after[~seen.still]
        if len(boxes) and len(blobs):
            sides[name] = float(boxes.mean() - blobs[:, 6].mean())
    return sides


def _one_place(evidence: Evidence, shares: Mapping[str, float], said: bool) -> Finding:
    """That the labels name one place of each moved object, which a symmetric diff cannot tell."""
    sources = [f"dataset.yaml says labels: {evidence.places}"] if evidence.places else []
    if shares:
        sources.append(f"{percent(_median(shares))} of the changed pixels lie outside every box")
    what = f"only one place of each moved object is labelled: {(', ' if said else ', but ').join(sources)}"
    what = what if said else f"it seems that {what}"
    order = sorted((name for name in shares if shares[name] > LIMIT), key=lambda name: -shares[name])
    pairs = {name: f"{percent(shares[name])} of the change is outside every box" for name in order}
    if evidence.diff.symmetric:
        why = f"with data.diff={evidence.diff} the other place lights up in the same way and is wrong"
        remedy = "label both places, or use data.diff=signed or data.diff=stack"
        return Finding(Level.problem, "one place labelled", what, why, remedy, pairs)
    why = f"data.diff={evidence.diff} keeps the order of the frames, which such labels need"
    return Finding(Level.note, "one place labelled", what, why, "nothing to do", pairs)


def _swapped(evidence: Evidence, sides: Mapping[str, float]) -> Iterator[Finding]:
    """Whether labels of one place name what is in the other frame."""
    wanted = -1 if evidence.places is Places.before else 1
    wrong = {name: "its objects are in the other frame" for name in sides if sides[name] * wanted < 0}
    if len(sides) < FEWEST or len(wrong) <= 0.1 * len(sides):
        return
    frame = "before" if wanted > 0 else "after"
    # Without a word in dataset.yaml, labels of the before places are a convention, too.
    mixed = len(wrong) < 0.9 * len(sides)
    # An object with fewer edges than the ground that it hides looks like its old place.
    sure = len(wrong) > 0.25 * len(sides) and (mixed or evidence.places is not None)
    yield Finding(
        Level.problem if sure else Level.suspicious,
        "frames swapped",
        f"in {len(wrong)} of {len(sides)} pairs the labelled objects are in the {frame} frame",
        "the model learns to find objects where they are in one pair, and where they are not in another"
        if mixed
        else "the labels name the places that the objects left",
        "look at these pairs, and swap before and after where it is so"
        if mixed or evidence.places is not None
        else "swap before and after, or write labels: before into dataset.yaml",
        wrong,
    )


def _missing(evidence: Evidence, measured: bool) -> Iterator[Finding]:
    """Whether there are changes that should have a box."""
    blobs = {name: len(found) for name, found in without_box(evidence.inspected).items()}
    number = sum(blobs.values())
    if not number:
        return
    boxes = sum(len(seen.still) for seen in evidence.inspected.values())
    share = number / (number + 0.75 * boxes)  # a quarter of the boxes hold less than such a blob
    empty = [name for name, seen in evidence.inspected.items() if not len(seen.still)]
    full = sum(blobs[name] > 0 for name in empty)
    level = Level.suspicious if share > 0.15 else Level.note
    if measured or (share > 0.15 and full >= 3 and full > len(empty) / 4):
        level = Level.problem
    what = f"{number} changed places as large as labelled ones have no box, beside {boxes} boxes"
    if full:
        what += f"; {full} of {len(empty)} pairs without objects have such a place"
    order = sorted((name for name in blobs if blobs[name]), key=lambda name: -blobs[name])
    yield Finding(
        level,
        "labels missing",
        what,
        "the model is told that a moved object is background",
        "label every object that moved, or leave these pairs out; where only its new place is meant, write "
        "labels: after into dataset.yaml",
        {name: f"{some(blobs[name], 'changed place', 'changed places')} without a box" for name in order},
    )


def _unlabelled(evidence: Evidence) -> dict[str, float]:
    seen = evidence.inspected.items()
    return {name: own.unlabelled for name, own in seen if own.unlabelled is not None}


def _median(shares: Mapping[str, float]) -> float:
    return float(np.median(list(shares.values()))) if len(shares) >= FEWEST else 0.0


def without_box(inspected: Mapping[str, Inspection]) -> dict[str, npt.NDArray[np.int64]]:
    """Changed blobs that have no label though they are as large as what is labelled.

    As large: more changed pixels, and thicker, than the smallest quarter of the blobs in boxes.

    Returns:
        int64 [K, 7] for each pair, see Inspection.
    """
    blobs = {name: inspection.blobs for name, inspection in inspected.items()}
    every = np.concatenate([*blobs.values(), np.zeros((0, 7), np.int64)])
    labelled = every[every[:, 5] > IN_BOX * every[:, 4]]
    if not len(labelled):
        return {name: own[:0] for name, own in blobs.items()}
    large, thick = np.quantile(labelled[:, 4], 0.25), np.quantile(_thickness(labelled), 0.25)
    return {
        name: own[(own[:, 5] <= IN_BOX * own[:, 4]) & (own[:, 4] >= large) & (_thickness(own) >= thick)]
        for name, own in blobs.items()
    }


def _thickness(blobs: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return blobs[:, 4] / np.maximum((blobs[:, 2:4] - blobs[:, :2]).max(axis=1, initial=1), 1)
