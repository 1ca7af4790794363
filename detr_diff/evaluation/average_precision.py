"""Average precision as COCO counts it, of images that may count several times or not at all."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array

from detr_diff.evaluation.matching import IOU_THRESHOLDS, Matches
from detr_diff.evaluation.record import Floats, Ints, rank_within

RECALLS = np.linspace(0.0, 1.0, 101)  # at these the precision is read
AT_ONCE = 4_000_000  # weights of candidates


class Averages(NamedTuple):
    """Average precision and recall for A ranges of size, T IoU thresholds and K classes.

    Attributes:
        precision: [B, A, T, K], nan without objects.
        recall: [B, A, T, K], the largest one, with all predictions; nan without objects.
    """

    precision: Floats
    recall: Floats

    def figures(self, names: Sequence[str], sizes: Iterable[str]) -> dict[str, Floats]:
        """Means under their usual names, [B] each.

        map and mar_100 over IoU 0.5 to 0.95, map_50, map_75, both with _<size> for each size, and
        map/<class> and map_50/<class>.

        Args:
            names: Class names.
            sizes: Names of the ranges of size, without the first one, which is any size.
        """
        precision, recall = self
        at_50, at_75 = (IOU_THRESHOLDS.index(iou) for iou in (0.5, 0.75))
        found = {
            "map": mean(precision[:, 0]),
            "map_50": mean(precision[:, 0, at_50]),
            "map_75": mean(precision[:, 0, at_75]),
            "mar_100": mean(recall[:, 0]),
        }
        for a, size in enumerate(sizes, start=1):
            found |= {f"map_{size}": mean(precision[:, a]), f"mar_{size}": mean(recall[:, a])}
        for k, name in enumerate(names):
            found[f"map/{name}"] = mean(precision[:, 0, :, k])
            found[f"map_50/{name}"] = precision[:, 0, at_50, k]
        return found


def mean(values: Floats) -> Floats:
    """Mean of what is defined over all but the first axis, [B, ...] to [B]; nan where nothing is."""
    flat = values.reshape(len(values), -1)
    defined = ~np.isnan(flat)
    total = np.where(defined, flat, 0.0).sum(axis=1)
    return np.where(defined.any(axis=1), total / np.maximum(defined.sum(axis=1), 1), np.nan)


def averages(matches: Matches, num_classes: int, weights: Ints | None = None) -> Averages:
    """Average precision of every class.

    Args:
        matches: Of at most 100 predictions of each class in each image, where it shall be COCO's.
        num_classes: K.
        weights: [B, N], how often each image counts, in B ways; None: once each.
    """
    weights = np.ones((1, len(matches.record.images)), np.int64) if weights is None else weights
    # In floating point matrix products are fast; these are whole numbers and stay exact.
    columns = np.ascontiguousarray(weights.T, np.float64)
    labels = matches.record.labels[matches.candidates]
    step = max(1, AT_ONCE // int(np.bincount(labels, minlength=1).max(initial=1)))
    parts = [_averages(matches, num_classes, columns[:, i : i + step]) for i in range(0, len(weights), step)]
    return Averages(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def recall_of_best(matches: Matches, num_classes: int, count: int) -> Floats:
    """Recall with the best `count` predictions of each class in each image.

    Returns:
        [A, T, K], nan without objects.
    """
    best = rank_within(matches.record.groups())[matches.candidates] < count
    labels = matches.record.labels[matches.candidates]
    found = np.stack([(matches.hit & (best & (labels == k))).sum(-1) for k in range(num_classes)], axis=-1)
    objects = np.stack(
        [(matches.object_inside & (matches.record.object_labels == k)).sum(-1) for k in range(num_classes)],
        axis=-1,
    )[:, None]
    return np.where(objects > 0, found / np.maximum(objects, 1), np.nan)


def interpolated(hits: Floats, made: Floats, objects: Floats) -> Floats:
    """Mean precision at 101 recalls, where precision is the best of any higher recall.

    Args:
        hits: [B, H], number of true positives down to each true positive, ascending; whole numbers.
        made: [B, H], number of predictions down to it.
        objects: [B].

    Returns:
        [B], nan without objects.
    """
    rows, length = hits.shape
    if not length:
        return np.where(objects > 0, 0.0, np.nan)
    precision = hits / np.maximum(made, 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # All rows in one search: each has numbers of its own.
    offset = np.arange(rows)[:, None] * (max(hits.max(), objects.max()) + 2)
    wanted = _hits_for(objects) + offset
    place = np.searchsorted((hits + offset).ravel(), wanted.ravel()).reshape(wanted.shape)
    place -= np.arange(rows)[:, None] * length
    value = np.where(place < length, np.take_along_axis(best, place.clip(max=length - 1), axis=1), 0.0)
    return np.where(objects > 0, value.mean(axis=1), np.nan)


def _hits_for(objects: Floats) -> Floats:
    """The fewest true positives whose share of the objects reaches each recall, [B, 101].

    In whole numbers, so that a recall of 0.3 is not missed by a rounding error.
    """
    number = np.maximum(objects, 1)[:, None]
    near = np.rint(RECALLS * number)
    return np.where(near / number >= RECALLS, near, near + 1)


def _averages(matches: Matches, num_classes: int, weights: Floats) -> Averages:
    """Of weights [N, B]."""
    shape = (weights.shape[1], *matches.hit.shape[:2], num_classes)
    result = Averages(np.full(shape, np.nan), np.full(shape, np.nan))
    for k in range(num_classes):
        objects = np.flatnonzero(matches.record.object_labels == k)
        inside = matches.object_inside[:, objects].astype(np.float64)
        total = (inside @ weights[matches.record.object_image[objects]]).T
        for a, t, hits, made in _curves(matches, k, weights):
            result.precision[:, a, t, k] = interpolated(hits, made, total[:, a])
            found = hits[:, -1] if hits.shape[1] else 0
            result.recall[:, a, t, k] = np.where(total[:, a] > 0, found / np.maximum(total[:, a], 1), np.nan)
    return result


def _curves(matches: Matches, label: int, weights: Floats) -> Iterator[tuple[int, int, Floats, Floats]]:
    """For each size and IoU threshold the numbers of true positives and of predictions, see above."""
    record = matches.record
    own = np.flatnonzero(record.labels == label)
    own = own[np.argsort(-record.scores[own], kind="stable")]
    place = np.full(len(record.labels), -1)
    place[own] = np.arange(len(own))
    columns = np.flatnonzero(record.labels[matches.candidates] == label)
    columns = columns[np.argsort(place[matches.candidates[columns]])]
    candidates = matches.candidates[columns]
    own = own[: 1 + int(place[candidates].max(initial=-1))]  # later ones change nothing
    next_candidate = np.searchsorted(place[candidates], np.arange(len(own)))
    weight = weights[record.image[candidates]].T
    for a in range(len(matches.inside)):
        # Predictions between two candidates, by image: so not every single one has to be weighed.
        rows = np.flatnonzero(matches.inside[a, own])
        between = coo_array(
            (np.ones(len(rows)), (next_candidate[rows], record.image[own[rows]])),
            shape=(len(candidates), len(weights)),
        )
        base = np.ascontiguousarray(np.cumsum(between.tocsr() @ weights, axis=0).T)
        for t in range(matches.hit.shape[1]):
            hit = np.flatnonzero(matches.hit[a, t, columns])
            # Whether a candidate counts depends on what it found, not on its own size alone.
            other = matches.counted[a, t, columns].astype(np.float64) - matches.inside[a, candidates]
            made, changed = base[:, hit], np.flatnonzero(other)
            if len(changed):
                change = np.cumsum(weight[:, changed] * other[changed], axis=1)
                change = np.pad(change, ((0, 0), (1, 0)))
                made = made + change[:, np.searchsorted(changed, hit, side="right")]
            yield a, t, np.cumsum(weight[:, hit], axis=1), made
