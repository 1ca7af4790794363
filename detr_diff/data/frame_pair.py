"""Frame pairs: two frames of one fixed camera and what moved between them."""

import os
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from detr_diff.data.strings import Categories, Strings


@dataclass(frozen=True, slots=True)
class FramePair:
    """Two frames of one fixed camera and the label file of what moved.

    Attributes:
        name: Unique in the data set.
        before: The earlier frame; None when `after` holds a ready diff image.
        after: The later frame.
        label: YOLO label file; None when the pair is only to be predicted.
        scene: Unit of splitting; None when unknown.
        split: train, val or test where the data set says so.
    """

    name: str
    before: Path | None
    after: Path
    label: Path | None
    scene: str | None = None
    split: str | None = None

    @property
    def frames(self) -> list[Path]:
        """Before and after, or the ready diff image alone."""
        return [self.after] if self.before is None else [self.before, self.after]


class FramePairs(Sequence[FramePair]):
    """Frame pairs of one data folder, stored as columns: a million take some 150 MB.

    Args:
        root: The data folder; paths inside it are kept relative to it.
        pairs: The first ones.
    """

    def __init__(self, root: Path, pairs: Iterable[FramePair] = ()) -> None:
        self._root = f"{root}{os.sep}"
        self._names, self._scenes, self._splits = Strings(), Categories(), Categories()
        self._paths = {"before": Strings(), "after": Strings(), "label": Strings()}
        self._rows: npt.NDArray[np.int64] | None = None  # which of them are meant; None: all
        for pair in pairs:
            self.append(pair)

    def take(self, rows: npt.NDArray[np.int64]) -> "FramePairs":
        """Some of them; the columns are shared."""
        part = copy(self)
        part._rows = rows if self._rows is None else self._rows[rows]
        return part

    def append(self, pair: FramePair) -> None:
        """Add a pair at the end."""
        self._names.append(pair.name)
        for role, column in self._paths.items():
            path = getattr(pair, role)
            column.append("" if path is None else str(path).removeprefix(self._root))
        self._scenes.append(pair.scene)
        self._splits.append(pair.split)

    def names(self) -> Iterator[str]:
        """The names alone; most of the time that a pair takes goes to its paths."""
        return (self._names[int(row)] for row in (range(len(self)) if self._rows is None else self._rows))

    def __len__(self) -> int:
        return len(self._names) if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, index: int) -> FramePair: ...

    @overload
    def __getitem__(self, index: slice) -> "FramePairs": ...

    def __getitem__(self, index: "int | slice") -> "FramePair | FramePairs":
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        if self._rows is not None:
            index = int(self._rows[index])
        before, after, label = (self._path(column[index]) for column in self._paths.values())
        assert after is not None
        return FramePair(self._names[index], before, after, label, self._scenes[index], self._splits[index])

    def __iter__(self) -> Iterator[FramePair]:
        return (self[index] for index in range(len(self)))

    def _path(self, path: str) -> Path | None:
        # An absolute path stays what it is when it is joined.
        return Path(self._root, path) if path else None
