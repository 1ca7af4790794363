"""What kinds of errors there are and how much average precision each kind costs.

After TIDE: Bolya et al. 2020, "A general toolbox for identifying object detection errors",
arXiv:2008.08115.
"""

from enum import StrEnum
from typing import NamedTuple

import numpy as np

from detr_diff.evaluation.average_precision import interpolated
from detr_diff.evaluation.matching import match
from detr_diff.evaluation.overlap import LEAST, Overlaps, overlaps
from detr_diff.evaluation.record import Floats, Ints, Mask, Record

FOUND = 0.5  # overlap from which on an object counts as found


class Kind(StrEnum):
    """Kinds of errors, with the overlaps of the paper: 0.1 for near an object, 0.5 for on it.

    class: on an object of another class; location: near an object of its class; both: near an
    object of another class; duplicate: on an object of its class that a better prediction has found;
    background: near no object; missed: an object that was not found, and that no class or location
    error would find if it were mended.
    """

    CLASS = "class"
    location = "location"
    both = "both"
    duplicate = "duplicate"
    background = "background"
    missed = "missed"


KINDS = tuple(Kind)
MENDABLE = (Kind.CLASS, Kind.location)
RIGHT = -1


class Errors(NamedTuple):
    """The errors among D predictions of G objects.

    Attributes:
        kind: [D], position in KINDS, RIGHT for true positives.
        object: [D], row of the object that was found, or that a class or location error or a
            duplicate is on or near; -1 for none.
        mended: [D], whether the prediction would be a true positive if its class or location were
            mended: the best one of those on an object that was not found.
        missed: [G], objects that count as missed.
        found: [G], objects that were found.
    """

    kind: Ints
    object: Ints
    mended: Mask
    missed: Mask
    found: Mask

    def counts(self) -> dict[str, int]:
        """How many errors of each kind."""
        number = {str(kind): int((self.kind == index).sum()) for index, kind in enumerate(KINDS)}
        return number | {str(Kind.missed): int(self.missed.sum())}


def find_errors(record: Record) -> Errors:
    """Tell the kind of each error; with all predictions, or with those from a score on."""
    pairs = overlaps(record, LEAST)
    matches = match(record, pairs, (FOUND,))
    same = pairs.same_class(record)
    own_iou, own = _nearest(pairs.only(same), len(record.labels))
    other_iou, other = _nearest(pairs.only(~same), len(record.labels))
    # The first case that is true counts; the order is that of the authors' program.
    cases = {
        RIGHT: matches.hits(0),
        KINDS.index(Kind.location): (own_iou >= LEAST) & (own_iou < FOUND),
        KINDS.index(Kind.CLASS): other_iou >= FOUND,
        KINDS.index(Kind.duplicate): own_iou >= FOUND,
        KINDS.index(Kind.background): np.maximum(own_iou, other_iou) < LEAST,
    }
    kind = np.select([*cases.values()], [*cases], KINDS.index(Kind.both))
    concerned = np.where(kind == KINDS.index(Kind.CLASS), other, own)
    concerned[matches.candidates] = np.where(
        matches.taken[0] >= 0, matches.taken[0], concerned[matches.candidates]
    )
    concerned[kind >= KINDS.index(Kind.background)] = -1
    concerned[kind == KINDS.index(Kind.both)] = -1
    found = np.zeros(len(record.object_labels), np.bool_)
    found[matches.taken[0][matches.taken[0] >= 0]] = True
    wrong = np.flatnonzero(np.isin(kind, [KINDS.index(name) for name in MENDABLE]))
    wrong = wrong[~found[concerned[wrong]]]
    # Predictions of an image are in the order of scores, so the first one is the best.
    covered, first = np.unique(concerned[wrong], return_index=True)
    mended = np.zeros(len(kind), np.bool_)
    mended[wrong[first]] = True
    missed = ~found
    missed[covered] = False
    return Errors(kind, concerned, mended, missed, found)


def _nearest(pairs: Overlaps, number: int) -> tuple[Floats, Ints]:
    """The largest overlap of each prediction and its object; 0 and -1 for none."""
    iou, objects = np.zeros(number), np.full(number, -1)
    order = np.argsort(pairs.iou, kind="stable")  # the last one assigned stays
    iou[pairs.prediction[order]] = pairs.iou[order]
    objects[pairs.prediction[order]] = pairs.object[order]
    return iou, objects


def ap_costs(record: Record, errors: Errors, num_classes: int) -> dict[str, float]:
    """By how much AP50 would rise if the errors of one kind were mended, for each kind.

    A class or location error that would find an object becomes a true positive, all other errors
    of that kind vanish, and missed objects are no longer asked for; nan without objects. Beside the kinds:
    false_positives, if there were none, and false_negatives, if every object that was not found
    were not asked for.
    """
    hit = errors.kind == RIGHT
    objects = np.bincount(record.object_labels, minlength=num_classes)

    def missing(chosen: Mask) -> Ints:
        return objects - np.bincount(record.object_labels[chosen], minlength=num_classes)

    now = _map_50(record.scores, record.labels, hit, objects)
    costs = {}
    for index, kind in enumerate(KINDS):
        own = errors.kind == index
        labels = record.labels
        if kind is Kind.CLASS:
            mended = np.flatnonzero(own & errors.mended)
            labels = labels.copy()
            labels[mended] = record.object_labels[errors.object[mended]]
        kept = ~own | errors.mended
        right = hit | (own & errors.mended)
        asked = missing(errors.missed) if kind is Kind.missed else objects
        costs[str(kind)] = _map_50(record.scores[kept], labels[kept], right[kept], asked, objects) - now
    costs["false_positives"] = _map_50(record.scores[hit], record.labels[hit], hit[hit], objects) - now
    asked = missing(~errors.found)
    costs["false_negatives"] = _map_50(record.scores, record.labels, hit, asked, objects) - now
    # Another grouping can lower the interpolated precision a little; that costs nothing.
    return {kind: float(np.maximum(0.0, cost)) for kind, cost in costs.items()}


def _map_50(scores: Floats, labels: Ints, hit: Mask, asked: Ints, objects: Ints | None = None) -> float:
    """Mean over the classes that have objects; a class none of whose objects is asked for is perfect."""
    found = []
    for label in np.flatnonzero(asked if objects is None else objects):
        own = np.flatnonzero(labels == label)
        own = own[np.argsort(-scores[own], kind="stable")]
        made = (1 + np.flatnonzero(hit[own])).astype(np.float64)
        hits = np.arange(1.0, len(made) + 1)
        total = asked[[label]].astype(np.float64)
        found.append(interpolated(hits[None], made[None], total)[0] if asked[label] else 1.0)
    return float(np.mean(found)) if found else float("nan")
