"""Frame pairs with their objects, the material of a data set."""

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
import numpy.typing as npt

from detr_diff.data.frame_pair import FramePair, FramePairs
from detr_diff.data.labels import Labels


@dataclass(frozen=True)
class LabelledPair:
    """A frame pair that passed the check, with its objects and its size in pixels."""

    pair: FramePair
    labels: Labels
    height: int
    width: int


@dataclass(frozen=True)
class LabelledPairs(Sequence[LabelledPair]):
    """Labelled pairs, stored as columns: a million take less than 500 MB, and forked workers share them.

    Attributes:
        pairs: The frame pairs that `rows` points into.
        rows: int64 [N], which of them are meant.
        box_ends: int64 [len(pairs) + 1]; pair i has the boxes box_ends[i] to box_ends[i + 1].
        boxes: float32 [M, 4], cxcywh in [0, 1].
        class_labels: int32 [M].
        places: int8 [M], see Labels.
        objects: int32 [M], see Labels.
        sizes: int32 [len(pairs), 2], height and width in pixels.
        contents: int64 [len(pairs)], hash of the frames; 0 when it was not asked for.
    """

    pairs: FramePairs
    rows: npt.NDArray[np.int64]
    box_ends: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]
    class_labels: npt.NDArray[np.int32]
    places: npt.NDArray[np.int8]
    objects: npt.NDArray[np.int32]
    sizes: npt.NDArray[np.int32]
    contents: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> LabelledPair: ...

    @overload
    def __getitem__(self, index: slice) -> "LabelledPairs": ...

    def __getitem__(self, index: "int | slice") -> "LabelledPair | LabelledPairs":
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        height, width = self.size(index).tolist()
        return LabelledPair(self.pairs[int(self.rows[index])], self.labels(index), height, width)

    def labels(self, index: int) -> Labels:
        """The objects of a pair; most of the time that a pair takes goes to the paths of its files."""
        row = int(self.rows[index])
        own = slice(int(self.box_ends[row]), int(self.box_ends[row + 1]))
        return Labels(
            self.class_labels[own].astype(np.int64),
            self.boxes[own].copy(),
            self.places[own].astype(np.int64),
            self.objects[own].astype(np.int64),
        )

    def size(self, index: int) -> npt.NDArray[np.int64]:
        """Height and width of a pair, int64 [2]."""
        return self.sizes[int(self.rows[index])].astype(np.int64)

    def frame_pairs(self) -> FramePairs:
        """The pairs without their objects."""
        return self.pairs.take(self.rows)

    def take(self, positions: npt.NDArray[np.int64] | Sequence[int]) -> "LabelledPairs":
        """Some of them; the columns are shared."""
        return replace(self, rows=self.rows[np.asarray(positions, np.int64)])

    def objects_in_all(self) -> int:
        """How many objects all pairs have together."""
        return int((self.box_ends[self.rows + 1] - self.box_ends[self.rows]).sum())

    def digest(self) -> str:
        """Of names and objects of the pairs in their order, wherever they are; not of their frames."""
        starts = self.box_ends[self.rows]
        counts = self.box_ends[self.rows + 1] - starts
        own = np.arange(counts.sum()) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
        state = hashlib.sha256("\0".join(self.frame_pairs().names()).encode())
        for column in (counts, self.boxes[own], self.class_labels[own], self.places[own], self.objects[own]):
            state.update(np.ascontiguousarray(column).tobytes())
        return state.hexdigest()

    def without_place(self) -> FramePair | None:
        """The first pair with an object whose label says no place; None when every label says it."""
        unknown = np.concatenate([[0], np.cumsum(self.places < 0)])
        counts = unknown[self.box_ends[self.rows + 1]] - unknown[self.box_ends[self.rows]]
        found = np.flatnonzero(counts)
        return self.pairs[int(self.rows[found[0]])] if len(found) else None


class LabelColumns:
    """Collects what the check found out about each frame pair, in order.

    Args:
        pairs: The frame pairs.
    """

    def __init__(self, pairs: FramePairs) -> None:
        self._pairs = pairs
        self._rows, self._ends = array("q"), array("q", [0])
        self._boxes, self._class_labels, self._sizes = array("f"), array("i"), array("i")
        self._places, self._objects = array("b"), array("i")
        self._contents = array("q")

    def append(self, labels: Labels, size: tuple[int, int], content: int = 0) -> None:
        """The next pair is usable: its objects, (height, width) and perhaps a hash of its frames."""
        self._rows.append(len(self._ends) - 1)
        self._boxes.frombytes(labels.boxes.tobytes())
        self._class_labels.frombytes(labels.class_labels.astype(np.int32).tobytes())
        self._places.frombytes(labels.places.astype(np.int8).tobytes())
        self._objects.frombytes(labels.objects.astype(np.int32).tobytes())
        self._ends.append(len(self._class_labels))
        self._sizes.extend(size)
        self._contents.append(content)

    def skip(self) -> None:
        """The next pair is not usable."""
        self._ends.append(len(self._class_labels))
        self._sizes.extend((0, 0))
        self._contents.append(0)

    def finish(self) -> LabelledPairs:
        """The usable pairs."""
        return LabelledPairs(
            self._pairs,
            np.array(self._rows, np.int64),
            np.array(self._ends, np.int64),
            np.array(self._boxes, np.float32).reshape(-1, 4),
            np.array(self._class_labels, np.int32),
            np.array(self._places, np.int8),
            np.array(self._objects, np.int32),
            np.array(self._sizes, np.int32).reshape(-1, 2),
            np.array(self._contents, np.int64),
        )
