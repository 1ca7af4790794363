"""The class head by class name: which row of a pretrained head each of our classes starts from."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from detr_diff.errors import SettingError, nearest
from detr_diff.model.coco_classes import NOTHING, coco_classes


@dataclass(frozen=True)
class ClassRows:
    """Our classes and the source's.

    Attributes:
        ours: Class names of the model.
        theirs: Class names of the source, in the order of its rows.
        said_by: What says theirs.
        rows: For each of ours the row in the source; None where it has no such class.
    """

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    said_by: str
    rows: tuple[int | None, ...]

    def fit(self, source: Tensor, target: Tensor) -> Tensor | None:
        """The target with the source's rows for our classes.

        A row behind those of the classes, for no-object or padding, is the source's last.

        Args:
            source: One row for each of theirs, and perhaps one more, [R, ...].
            target: One row for each of ours, and perhaps one more, [N, ...].

        Returns:
            None where the source has another number of rows or columns, or none of our classes.
        """
        extra = len(target) - len(self.ours)
        wanted = self.wanted
        if len(source) - len(self.theirs) != extra or source.shape[1:] != target.shape[1:] or not wanted:
            return None
        result = target.clone()
        for ours, theirs in wanted.items():
            result[ours] = source[theirs]
        if extra:
            result[-extra:] = source[-extra:]
        return result

    def arrived(self, source: Tensor, result: Tensor) -> bool:
        """Whether the rows of our classes are the source's bit for bit."""
        pairs = self.wanted.items()
        return all(torch.equal(result[ours], source[theirs]) for ours, theirs in pairs)

    @property
    def wanted(self) -> dict[int, int]:
        """Our row to the source's, for the classes that the source has."""
        return {ours: theirs for ours, theirs in enumerate(self.rows) if theirs is not None}

    def mapping(self) -> dict[str, str | None]:
        """Our class to the source's name of it."""
        return {
            ours: None if row is None else self.theirs[row]
            for ours, row in zip(self.ours, self.rows, strict=True)
        }


def match_classes(
    ours: Sequence[str],
    stored: Sequence[str] | None,
    rows: int,
    *,
    given: Sequence[str] | None,
    synonyms: Mapping[str, str],
    bases: Sequence[str] | None = None,
) -> ClassRows | None:
    """Find our classes among those of a source.

    Names are equal when they differ in case, spaces, hyphens and underscores alone. Other words for
    a thing must be given as synonyms.

    Args:
        ours: Class names of the model.
        stored: Class names that came with the source.
        rows: Number of classes in its head.
        given: Class names of the source that the user says; they are believed more.
        synonyms: Our name to the source's.
        bases: For each of ours the class that it is a part of, as person of "person before"; its
            row is taken when the source has no such part. Left out: ours themselves.

    Returns:
        None when the classes of the source are not known.

    Raises:
        SettingError: Names that do not fit the head or a synonym that is not a name.
    """
    where = "model.transfer"
    bases = ours if bases is None else bases
    if given is not None:
        theirs, said_by = tuple(given), f"{where}.class_names"
        if len(theirs) != rows:
            raise SettingError(f"{where}.class_names: {len(theirs)} names, the class head has {rows} classes")
    elif stored is not None and len(stored) == rows:
        theirs, said_by = tuple(stored), "the source"
    else:
        coco = coco_classes(rows)
        if coco is None:
            if synonyms:
                raise SettingError(
                    f"{where}.synonyms: the classes of the source are not known; give {where}.class_names"
                )
            return None
        theirs, said_by = coco, f"COCO, for it has {rows} classes"
    for our_name, their_name in synonyms.items():
        if our_name not in (*ours, *bases):
            hint = nearest(our_name, dict.fromkeys([*bases, *ours]))
            raise SettingError(f"{where}.synonyms.{our_name}: no class of the data, {hint}")
        if _plain(their_name) not in map(_plain, theirs):
            hint = nearest(their_name, theirs)
            raise SettingError(f"{where}.synonyms.{our_name}={their_name}: no class of the source, {hint}")
    places: dict[str, int] = {}
    for row, name in enumerate(theirs):
        if name != NOTHING:
            places.setdefault(_plain(name), row)
    found = []
    for pair in zip(ours, bases, strict=True):
        rows_of = (places.get(_plain(synonyms.get(name, name))) for name in pair)
        found.append(next((row for row in rows_of if row is not None), None))
    return ClassRows(tuple(ours), theirs, said_by, tuple(found))


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()
