"""Greedy matching of predictions to true boxes, in score order, as in the COCO evaluation."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from detr_diff.evaluation.overlap import Overlaps
from detr_diff.evaluation.record import Floats, Ints, Mask, Record, ranges, rank_within

IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
ANY_SIZE = ((0.0, np.inf),)
IMAGES_AT_ONCE = 4096


class Matches(NamedTuple):
    """Which predictions of a record find an object, at T IoU thresholds, for A ranges of object size.

    As in COCO, an object outside a range may be found but does not count, nor does the prediction
    that found it; a prediction that found nothing counts when its own box is inside.

    Attributes:
        record: What was matched.
        candidates: [C], predictions that overlap an object of their class by at least the lowest
            IoU threshold, as rows of the record; no other can find one.
        taken: [T, C], object that each of them found when all sizes count, -1 for none.
        hit: [A, T, C], True for a true positive.
        counted: [A, T, C], False for a prediction that does not count.
        inside: [A, D], whether a prediction counts that found nothing.
        object_inside: [A, G], whether an object counts.
    """

    record: Record
    candidates: Ints
    taken: Ints
    hit: Mask
    counted: Mask
    inside: Mask
    object_inside: Mask

    def hits(self, threshold: int) -> Mask:
        """Which predictions are true positives at one of the IoU thresholds, all sizes: [D]."""
        found = np.zeros(len(self.record.labels), np.bool_)
        found[self.candidates] = self.hit[0, threshold]
        return found


def match(
    record: Record,
    overlaps: Overlaps,
    iou_thresholds: tuple[float, ...] = IOU_THRESHOLDS,
    sizes: tuple[tuple[float, float], ...] = ANY_SIZE,
) -> Matches:
    """Match predictions to the objects of their class.

    Each prediction takes the free object that it overlaps most, if by at least the threshold; one
    that counts before one that does not. Predictions come in descending order of score; so the
    answer for the first n of them does not depend on the others, and one matching serves every
    score threshold.

    Args:
        record: Predictions and objects.
        overlaps: Their overlaps.
        iou_thresholds: T of them.
        sizes: A ranges of area in square pixels, both ends included; the first one must let
            everything pass.
    """
    if sizes[0] != ANY_SIZE[0]:
        raise ValueError(f"sizes: the first range must be {ANY_SIZE[0]}, got {sizes[0]}")
    pairs = overlaps.only(overlaps.same_class(record) & (overlaps.iou >= min(iou_thresholds)))
    inside, object_inside = (_within(areas, sizes) for areas in (record.areas(), record.object_areas()))
    # Row by row of the result: every size with every threshold.
    thresholds = np.tile(iou_thresholds, len(sizes))
    counts = np.repeat(object_inside, len(iou_thresholds), axis=0)
    candidates, groups = np.unique(pairs.prediction), record.groups()
    taken = np.full((len(thresholds), len(candidates)), -1)
    limits = range(0, len(record.images) + IMAGES_AT_ONCE, IMAGES_AT_ONCE)
    for start, end in pairwise(np.searchsorted(record.image[candidates], limits)):
        if start < end:
            first, last = np.searchsorted(pairs.prediction, [candidates[start], candidates[end - 1] + 1])
            own = pairs.part(first, last)
            taken[:, start:end] = _match(own, groups, thresholds, counts)
    found = taken >= 0
    counted = np.where(
        found,
        np.take_along_axis(counts, taken.clip(min=0), axis=1) if counts.size else False,
        np.repeat(inside[:, candidates], len(iou_thresholds), axis=0),
    )
    shape = (len(sizes), len(iou_thresholds), len(candidates))
    return Matches(
        record,
        candidates,
        taken[: len(iou_thresholds)],
        (found & counted).reshape(shape),
        counted.reshape(shape),
        inside,
        object_inside,
    )


def _within(areas: Floats, sizes: tuple[tuple[float, float], ...]) -> Mask:
    """Whether each area is in each range, [A, N]."""
    return np.stack([(areas >= low) & (areas <= high) for low, high in sizes])


def _match(pairs: Overlaps, groups: Ints, thresholds: Floats, counts: Mask) -> Ints:
    """Match all images and classes at once, their best predictions first, then their second best, ...

    Args:
        pairs: P pairs of one class each.
        groups: [D], image and class of each prediction.
        thresholds: [R].
        counts: [R, G], whether an object counts.

    Returns:
        [R, C], the object taken by each prediction that occurs in the pairs, in order; -1 for none.
    """
    candidates, first, number = np.unique(pairs.prediction, return_index=True, return_counts=True)
    rank = rank_within(groups[candidates])
    by_rank = np.split(np.argsort(rank, kind="stable"), np.cumsum(np.bincount(rank))[:-1])
    lowest = pairs.object.min()  # rows of objects of these images only
    free = np.ones((len(thresholds), pairs.object.max() - lowest + 1), np.bool_)
    taken = np.full((len(thresholds), len(candidates)), -1)
    for own in by_rank:
        rows = ranges(first[own], number[own])
        objects, iou = pairs.object[rows], pairs.iou[rows]
        possible = free[:, objects - lowest] & (iou >= thresholds[:, None])
        value = np.where(possible, iou + 2.0 * counts[:, objects], -1.0)
        starts = np.cumsum(number[own]) - number[own]
        best = np.maximum.reduceat(value, starts, axis=1)
        # Of objects that are overlapped equally the last one, as in COCO.
        equal = value == np.repeat(best, number[own], axis=1)
        chosen = objects[np.maximum.reduceat(np.where(equal, np.arange(len(rows)), -1), starts, axis=1)]
        found = best >= 0
        taken[:, own] = np.where(found, chosen, -1)
        row, column = np.nonzero(found)
        free[row, chosen[row, column] - lowest] = False
    return taken
