"""The errors at every score threshold, from one matching."""

from typing import NamedTuple

import numpy as np

from detr_diff.evaluation.error_parts import KINDS, MENDABLE, RIGHT, Kind, find_errors
from detr_diff.evaluation.record import Floats, Ints, Mask, Record
from detr_diff.evaluation.score_sweep import counts_by_score

NEVER = -1.0  # below every score


class ErrorSweep(NamedTuple):
    """What is wrong at S score thresholds among D predictions of G objects.

    The kind of a prediction does not depend on the threshold: predictions take objects in the order
    of scores. Only which objects count as missed does.

    Attributes:
        kind: [D], position in KINDS, RIGHT for true positives.
        found: [G], up to which score threshold an object is found; NEVER for none.
        covered: [G], up to which score threshold a class or location error is on the object.
        counts: [S, kinds], errors of each kind.
    """

    kind: Ints
    found: Floats
    covered: Floats
    counts: Ints


def error_sweep(record: Record) -> ErrorSweep:
    """Tell the errors at every score threshold; the same as `find_errors` at each of them."""
    errors, number = find_errors(record), len(record.object_labels)
    mendable = np.isin(errors.kind, [KINDS.index(kind) for kind in MENDABLE])
    found, covered = (_best(record, errors.object, own, number) for own in (errors.kind == RIGHT, mendable))
    everything = np.ones(len(errors.kind), np.bool_)
    counts = counts_by_score(errors.kind - RIGHT, everything, record.scores, 1 + len(KINDS))[1:]
    told = np.ones(number, np.bool_)
    reached = counts_by_score(np.zeros(number, np.int64), told, np.maximum(found, covered), 1)[0]
    counts[KINDS.index(Kind.missed)] = number - reached
    return ErrorSweep(errors.kind, found, covered, counts.T)


def _best(record: Record, objects: Ints, chosen: Mask, number: int) -> Floats:
    """The best score of the chosen predictions on each object."""
    best = np.full(number, NEVER)
    np.maximum.at(best, objects[chosen], record.scores[chosen])
    return best
