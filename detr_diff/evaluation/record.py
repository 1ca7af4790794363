"""What was predicted and what is true, of all images, in columns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

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
        """Of a single image; see DetectionRecord.update."""
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


class DetectionRecord(Metric):
    """Collects predictions and true boxes; several processes put theirs together.

    The result does not depend on how the images were dealt out: they are sorted by position, and
    an image that two processes were given counts once.
    """

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        floats, ints = torch.zeros(0), torch.zeros(0, dtype=torch.int64)
        self._empty = {
            "positions": ints,
            "counts": ints.reshape(0, 2),
            "boxes": floats.reshape(0, 4),
            "scores": floats,
            "labels": ints,
            "object_boxes": floats.reshape(0, 4),
            "object_labels": ints,
        }
        for name in self._empty:
            self.add_state(name, [], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        # A process without images must gather tensors of the same kind as the others, not none.
        for name, empty in self._empty.items():
            setattr(self, name, [empty.to(self.device)])

    def update(
        self,
        predictions: Sequence[dict[str, Tensor]],
        truths: Sequence[dict[str, Tensor]],
        positions: Sequence[int] | Tensor,
    ) -> None:
        """Add images.

        Args:
            predictions: Prediction dicts: boxes [D, 4] xyxy in pixels, scores [D], labels [D].
            truths: boxes [G, 4] xyxy in pixels, labels [G].
            positions: Position of each image in the data set.
        """
        if not len(predictions) == len(truths) == len(positions):
            sizes = f"{len(predictions)} predictions, {len(truths)} truths, {len(positions)} positions"
            raise ValueError(f"{sizes}; there must be one of each for an image")
        counts = [
            (len(prediction["labels"]), len(truth["labels"]))
            for prediction, truth in zip(predictions, truths, strict=True)
        ]
        self._add("positions", [torch.as_tensor(positions)])
        self._add("counts", [torch.tensor(counts).reshape(-1, 2)])
        for key in ("boxes", "scores", "labels"):
            self._add(key, [prediction[key].detach() for prediction in predictions])
        for key in ("boxes", "labels"):
            self._add(f"object_{key}", [truth[key] for truth in truths])

    def _add(self, state: str, parts: Sequence[Tensor]) -> None:
        kind = self._empty[state]
        parts = [part.to(self.device, kind.dtype).reshape(-1, *kind.shape[1:]) for part in parts]
        getattr(self, state).append(torch.cat([kind.to(self.device), *parts]))

    def compute(self) -> Record:
        """Everything added so far, by all processes."""
        columns = {name: dim_zero_cat(getattr(self, name)).cpu().numpy() for name in self._empty}
        images, chosen = np.unique(columns["positions"], return_index=True)
        starts = np.cumsum(columns["counts"], axis=0) - columns["counts"]
        starts, counts = starts[chosen], columns["counts"][chosen]
        image, object_image = (np.repeat(np.arange(len(images)), counts[:, kind]) for kind in (0, 1))
        rows, object_rows = (ranges(starts[:, kind], counts[:, kind]) for kind in (0, 1))
        rows = rows[np.lexsort((-columns["scores"][rows], image))]
        return Record(
            images,
            image,
            columns["boxes"][rows].astype(np.float64),
            columns["scores"][rows].astype(np.float64),
            columns["labels"][rows],
            object_image,
            columns["object_boxes"][object_rows].astype(np.float64),
            columns["object_labels"][object_rows],
        )
