"""What was predicted and what is true, of all images, in columns."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

MOST = 100  # predictions of a class in an image, as COCO counts them


class Record(NamedTuple):
    """Predictions and objects of N images; all figures are made from it.

    Attributes:
        images: [N], positions of the images in the data set, ascending.
        image: [D], row in `images` of each prediction; predictions come in the order of images,
            those of an image in descending order of score.
        boxes: [D, 4], xyxy in pixels.
        scores: [D].
        labels: [D].
        object_image: [G], row in `images` of each object, ascending.
        object_boxes: [G, 4], xyxy in pixels.
        object_labels: [G].
    """

    images: Ints
    image: Ints
    boxes: Floats
    scores: Floats
    labels: Ints
    object_image: Ints
    object_boxes: Floats
    object_labels: Ints

    @classmethod
    def of_image(cls, prediction: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> "Record":
        """Of a single image; see `DetectionRecord.update`."""
        boxes, scores, labels = (_column(prediction[key]) for key in ("boxes", "scores", "labels"))
        object_boxes, object_labels = (_column(truth[key]) for key in ("boxes", "labels"))
        order = np.argsort(-scores, kind="stable")
        return cls(
            np.zeros(1, np.int64),
            np.zeros(len(order), np.int64),
            boxes.reshape(-1, 4)[order],
            scores[order],
            labels[order].astype(np.int64),
            np.zeros(len(object_labels), np.int64),
            object_boxes.reshape(-1, 4),
            object_labels.astype(np.int64),
        )

    def save(self, path: Path) -> None:
        """Write the columns as npz."""
        np.savez_compressed(path, **self._asdict())

    @classmethod
    def load(cls, path: Path) -> "Record":
        """Read what `save` has written."""
        with np.load(path, allow_pickle=False) as columns:
            return cls(**{name: columns[name] for name in cls._fields})

    def only(self, kept: Mask) -> "Record":
        """With some of the predictions, all images and all objects; kept is bool [D]."""
        return self._replace(
            image=self.image[kept], boxes=self.boxes[kept], scores=self.scores[kept], labels=self.labels[kept]
        )

    def of_images(self, rows: Ints) -> "Record":
        """Of some images, in another order; `rows` are rows in `images`, each at most once."""
        columns: dict[str, Any] = {"images": np.arange(len(rows))}
        number = len(self.images)
        for image, others in (
            ("image", ("boxes", "scores", "labels")),
            ("object_image", ("object_boxes", "object_labels")),
        ):
            counts = np.bincount(getattr(self, image), minlength=number)
            own = ranges((np.cumsum(counts) - counts)[rows], counts[rows])
            columns[image] = np.repeat(np.arange(len(rows)), counts[rows])
            columns |= {name: getattr(self, name)[own] for name in others}
        return self._replace(**columns)

    def above(self, threshold: float) -> "Record":
        """Predictions with at least that score."""
        return self.only(at_least(self.scores, threshold))

    def best(self, count: int) -> "Record":
        """The `count` best predictions of each class in each image, as COCO counts them."""
        return self.only(rank_within(self.groups()) < count)

    def any_class(self) -> "Record":
        """As if there were one class only."""
        return self._replace(
            labels=np.zeros_like(self.labels), object_labels=np.zeros_like(self.object_labels)
        )

    def groups(self) -> Ints:
        """A number for each image and class, of each prediction, [D]."""
        return self.image * (1 + int(self.labels.max(initial=0))) + self.labels

    def areas(self) -> Floats:
        """Areas of the predicted boxes in square pixels, [D]."""
        return area(self.boxes)

    def object_areas(self) -> Floats:
        """Areas of the true boxes in square pixels, [G]."""
        return area(self.object_boxes)


def _column(values: Tensor) -> Floats:
    return np.asarray(values.detach().cpu().double().numpy())


def area(boxes: Floats) -> Floats:
    """Areas of boxes xyxy, [N, 4] to [N]."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def at_least(scores: Floats, threshold: float) -> Mask:
    """Which scores reach a threshold.

    A threshold of 0.3 is meant to let a score of 0.3 pass, which as float32 may be 0.29999998.
    """
    return np.round(scores, 6) >= round(threshold, 6)


def rank_within(groups: Ints) -> Ints:
    """How many of the same group come before each one, [N]."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    first = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
    rank = np.empty(len(groups), np.int64)
    rank[order] = np.arange(len(groups)) - np.repeat(first, np.diff(first, append=len(groups)))
    return rank


def ranges(starts: Ints, counts: Ints) -> Ints:
    """start, start + 1, ... of each range, one range after the other."""
    ends = np.cumsum(counts)
    return np.repeat(starts - ends + counts, counts) + np.arange(ends[-1] if len(ends) else 0)
