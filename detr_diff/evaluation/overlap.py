"""Which predictions overlap which objects."""

from typing import NamedTuple

import numpy as np

from detr_diff.evaluation.record import Floats, Ints, Mask, Record, ranges

LEAST = 0.1  # less is called background (Bolya et al. 2020, arXiv:2008.08115)
AT_ONCE = 100_000  # pairs of boxes, few enough to stay in the processor's cache


class Overlaps(NamedTuple):
    """Pairs of a prediction and an object of the same image, in order of predictions, then objects.

    Attributes:
        prediction: [P], row in the record.
        object: [P], row in the record.
        iou: [P], intersection over union.
    """

    prediction: Ints
    object: Ints
    iou: Floats

    def only(self, kept: Mask) -> "Overlaps":
        """Some of the pairs; kept is bool [P]."""
        return Overlaps(self.prediction[kept], self.object[kept], self.iou[kept])

    def part(self, start: int, end: int) -> "Overlaps":
        """The pairs from one place to another."""
        return Overlaps(self.prediction[start:end], self.object[start:end], self.iou[start:end])

    def same_class(self, record: Record) -> Mask:
        """Whether prediction and object have the same class, [P]."""
        return record.labels[self.prediction] == record.object_labels[self.object]


def overlaps(record: Record, least: float = LEAST) -> Overlaps:
    """All pairs whose intersection over union is at least `least`, above 0."""
    per_image = np.bincount(record.object_image, minlength=len(record.images))
    first = np.cumsum(per_image) - per_image
    counts = per_image[record.image]
    parts = [np.searchsorted(np.cumsum(counts), limit) for limit in range(AT_ONCE, counts.sum(), AT_ONCE)]
    edges, object_edges = record.boxes.T.copy(), record.object_boxes.T.copy()
    areas, object_areas = record.areas(), record.object_areas()
    found = []
    for rows in np.split(np.arange(len(counts)), parts):
        prediction = np.repeat(rows, counts[rows])
        objects = ranges(first[record.image[rows]], counts[rows])
        shared = np.ones(len(objects))
        for low, high in ((0, 2), (1, 3)):
            end = np.minimum(edges[high, prediction], object_edges[high, objects])
            start = np.maximum(edges[low, prediction], object_edges[low, objects])
            shared *= np.maximum(end - start, 0.0)
        union = areas[prediction] + object_areas[objects] - shared
        kept = np.flatnonzero((shared >= (least - 1e-9) * union) & (shared > 0))
        iou = shared[kept] / union[kept]
        exact = iou >= least  # a product rounds otherwise than a quotient
        found.append((prediction[kept][exact], objects[kept][exact], iou[exact]))
    return Overlaps(*(np.concatenate(column) for column in zip(*found, strict=True)))
