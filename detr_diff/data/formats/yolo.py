"""An Ultralytics tree of ready diff images.

Format: https://docs.ultralytics.com/datasets/detect/, a data.yaml with `path`, `train`, `val`,
`test` and `names`, and label files as `read_labels` reads them.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from detr_diff.data.discovery import EXTENSIONS
from detr_diff.data.formats.frame_size import FrameSizes
from detr_diff.data.formats.imported import Box, Change, Imported, ImportedPair, fault_of
from detr_diff.data.formats.pair_names import PairNames
from detr_diff.data.formats.rows import read_rows
from detr_diff.data.formats.yolo_description import YoloDescription, read_yolo_description
from detr_diff.data.labels import Labels, read_labels
from detr_diff.data.problem import Problem
from detr_diff.data.progress import progress


def read(src: Path) -> Imported:
    """Read the tree of a data.yaml.

    A split is a folder, a text file with a picture a line, or a list of these. The label file of
    a picture lies where the last folder `images` of its path is `labels`. A picture without one
    is a background image, here: a pair in which nothing moved. Folders below that of a split are
    scenes.

    Args:
        src: The data.yaml, or its folder.

    Raises:
        UserError: There is no data.yaml, or it has no class names.
    """
    description = read_yolo_description(src / "data.yaml" if src.is_dir() else src)
    imported = Imported(description.names, places=None)
    names, sizes = PairNames(), FrameSizes()
    backgrounds = 0
    pictures = list(_pictures(description, imported.problems))
    for picture, name, scene, split in progress(pictures, "reading the pictures"):
        size = sizes.of(None, picture)
        if isinstance(size, Problem):
            imported.problems.append(size)
            continue
        changes: list[Change] = []
        label = label_of(picture)
        if label.is_file():
            changes = _changes(label, description.names, size, imported.problems)
        else:
            backgrounds += 1
        imported.pairs.append(ImportedPair(names.unique(name), None, picture, size, changes, scene, split))
    if backgrounds:
        imported.notes.append(f"{backgrounds} pictures have no label file: nothing moved in them")
    return imported


def label_of(picture: Path) -> Path:
    """The label file of a picture with an absolute path."""
    sep = os.sep
    return Path(f"{sep}labels{sep}".join(str(picture).rsplit(f"{sep}images{sep}", 1))).with_suffix(".txt")


def _pictures(
    description: YoloDescription, problems: list[Problem]
) -> Iterator[tuple[Path, str, str | None, str]]:
    """Every picture with a name, its scene and its split."""
    seen: dict[Path, str] = {}
    for entry in description.entries:
        place, again = entry.place, []
        if place.is_dir():
            found = [(picture, *_name(picture, place)) for picture in _files(place, EXTENSIONS)]
            problems += _lonely(place, {picture for picture, _, _ in found})
        elif place.is_file():
            rows, unreadable = read_rows(place)
            problems += unreadable
            listed = (Path(os.path.abspath(place.parent / row)) for _, row in rows)
            found = [(picture, _name(picture, place.parent)[0], None) for picture in listed]
        else:
            problems.append(
                Problem(description.path, entry.line, f"{entry.split}: no folder or file {place}")
            )
            continue
        for picture, name, scene in found:
            if picture in seen:
                again.append(picture)
                continue
            seen[picture] = entry.split
            yield picture, name, scene, entry.split
        if again:
            message = (
                f"{entry.split}: {len(again)} pictures are there already, as {again[0]} in {seen[again[0]]}"
            )
            problems.append(Problem(description.path, entry.line, message))
