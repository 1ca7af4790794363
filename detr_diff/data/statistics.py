"""Counts, sizes and positions of the objects, by class and split."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from detr_diff.data.labelled_pairs import LabelledPair

QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class Statistics:
    """A data set as columns: P pairs with M objects in all.

    Attributes:
        names: Class names.
        splits: The splits that have pairs, in the order train, val, test, None (left out).
        split: int8 [P], index into `splits`.
        scene: int32 [P], number of the scene; -1 when it is unknown.
        sizes: int32 [P, 2], height and width of the frames in pixels.
        counts: int32 [P], objects of a pair.
        class_labels: int32 [M], in the order of the pairs.
        boxes: float32 [M, 4], cxcywh in [0, 1].
    """

    names: Sequence[str]
    splits: Sequence[str | None]
    split: npt.NDArray[np.int8]
    scene: npt.NDArray[np.int32]
    sizes: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int32]
    class_labels: npt.NDArray[np.int32]
    boxes: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.split)

    @property
    def box_split(self) -> npt.NDArray[np.int8]:
        """Split of every object, int8 [M]."""
        return np.repeat(self.split, self.counts)

    @property
    def box_sides(self) -> npt.NDArray[np.float32]:
        """Width and height of every object in pixels of its frame, float32 [M, 2]."""
        frames = np.repeat(self.sizes[:, ::-1], self.counts, axis=0)
        return (self.boxes[:, 2:] * frames).astype(np.float32)

    def by_split(self) -> list[dict[str, Any]]:
        """What each split has: split, pairs, pairs without objects, scenes, objects, classes."""
        rows = []
        box_split = self.box_split
        for number, split in enumerate(self.splits):
            own = self.split == number
            classes = np.bincount(self.class_labels[box_split == number], minlength=len(self.names))
            rows.append(
                {
                    "split": split,
                    "pairs": int(own.sum()),
                    "pairs_without_objects": int((self.counts[own] == 0).sum()),
                    "scenes": len(np.unique(self.scene[own & (self.scene >= 0)])),
                    "objects": int(classes.sum()),
                    "classes": dict(zip(self.names, classes.tolist(), strict=True)),
                }
            )
        return rows

    def by_class(self) -> list[dict[str, Any]]:
        """Sizes and positions of each class in each split.

        Returns:
            One dict each: class, split, objects; width and height in pixels and x and y of the
            centre in [0, 1], each the 5 %, 50 % and 95 % quantile.
        """
        rows = []
        box_split, sides = self.box_split, self.box_sides
        for label, name in enumerate(self.names):
            for number, split in enumerate(self.splits):
                own = (self.class_labels == label) & (box_split == number)
                if not own.any():
                    continue
                figures = np.concatenate([sides[own], self.boxes[own, :2]], axis=1)
                quantiles = np.quantile(figures, QUANTILES, axis=0).T.round(4).tolist()
                row = {"class": name, "split": split, "objects": int(own.sum())}
                rows.append(row | dict(zip(("width", "height", "x", "y"), quantiles, strict=True)))
        return rows


def count(pairs: Iterable[LabelledPair], splits: Iterable[str | None], names: Sequence[str]) -> Statistics:
    """Go through the pairs once.

    Args:
        pairs: The usable pairs.
        splits: The split of each; None for a pair that is left out.
        names: Class names.
    """
    order = ("train", "val", "test", None)
    scenes: dict[str, int] = {}
    split, scene, sizes, counts = array("b"), array("i"), array("i"), array("i")
    class_labels, boxes = array("i"), array("f")
    for item, own in zip(pairs, splits, strict=True):
        split.append(order.index(own))
        known = item.pair.scene
        scene.append(-1 if known is None else scenes.setdefault(known, len(scenes)))
        sizes.extend((item.height, item.width))
        counts.append(len(item.labels))
        class_labels.frombytes(item.labels.class_labels.astype(np.int32).tobytes())
        boxes.frombytes(item.labels.boxes.tobytes())
    used, numbers = np.unique(np.array(split, np.int8), return_inverse=True)
    return Statistics(
        names=names,
        splits=[order[number] for number in used],
        split=numbers.astype(np.int8),
        scene=np.array(scene, np.int32),
        sizes=np.array(sizes, np.int32).reshape(-1, 2),
        counts=np.array(counts, np.int32),
        class_labels=np.array(class_labels, np.int32),
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
    )
