"""An Ultralytics tree of ready diff images.

Format: https://docs.ultralytics.com/datasets/detect/, a data.yaml with `path`, `train`, `val`,
`test` and `names`, and label files as `read_labels` reads them.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from detr_diff.data.discovery import EXTENSIONS
from detr_diff.data.formats.data_yaml import DataYaml, read_data_yaml
from detr_diff.data.formats.frame_size import FrameSizes
from detr_diff.data.formats.imported import Change, Imported, ImportedPair, fault_of
from detr_diff.data.formats.pair_names import PairNames
from detr_diff.data.formats.rows import read_rows
from detr_diff.data.labels import read_labels
from detr_diff.data.problem import Problem
from detr_diff.data.progress import progress


@dataclass(frozen=True)
class Picture:
    """A picture that belongs to a split.

    Attributes:
        path: Absolute.
        name: Its path in the split, without extension.
        scene: The folder it lies in, below that of the split; None when there is none.
        split: train, val or test.
        source: The file that names the picture, or the picture.
        line: The line that does; 0 when `source` is the picture.
    """

    path: Path
    name: str
    scene: str | None
    split: str
    source: Path
    line: int


def label_of(picture: Path) -> Path:
    """The label file of a picture with an absolute path; it need not be there."""
    sep = os.sep
    moved = f"{sep}labels{sep}".join(str(picture).rsplit(f"{sep}images{sep}", 1))
    return Path(os.path.splitext(moved)[0] + ".txt")


def read(src: Path) -> Imported:
    """Read the tree of a data.yaml.

    A split is a folder, a text file with a picture a line, or a list of these. The label file of
    a picture lies where the last folder `images` of its path is `labels`. A picture without one
    is a background image, here: a pair in which nothing moved. A folder below that of a split is
    a scene.

    Args:
        src: The data.yaml, or its folder.

    Raises:
        UserError: There is no data.yaml, or it has no class names.
    """
    description = read_data_yaml(src / "data.yaml" if src.is_dir() else src)
    imported = Imported(description.names, places=None)
    names, sizes = PairNames(), FrameSizes()
    first: dict[Path, str] = {}
    labels: set[Path] = set()
    backgrounds = 0
    for picture in progress(_pictures(description, imported.problems), "reading the pictures"):
        label = label_of(picture.path)
        labels.add(label)
        if picture.path in first:
            message = f"{picture.path} is in {first[picture.path]} already"
            imported.problems.append(Problem(picture.source, picture.line, message))
            continue
        first[picture.path] = picture.split
        size = sizes.of(None, picture.path)
        if isinstance(size, Problem):
            listed = Problem(picture.source, picture.line, str(size))
            imported.problems.append(listed if picture.line else size)
            continue
        changes: list[Change] = []
        if label.is_file():
            changes = _changes(label, description.names, size, imported.problems)
        else:
            backgrounds += 1
        name = names.unique(picture.name)
        imported.pairs.append(
            ImportedPair(name, None, picture.path, size, changes, picture.scene, picture.split)
        )
    imported.problems += _lonely(description, labels)
    if backgrounds:
        imported.notes.append(f"{backgrounds} pictures have no label file: nothing moved in them")
    return imported


def _pictures(description: DataYaml, problems: list[Problem]) -> Iterator[Picture]:
    """Every picture that the splits name."""
    for entry in description.entries:
        place = entry.place
        if os.path.isdir(place):
            for path in _files(place, EXTENSIONS):
                below = path.relative_to(place).with_suffix("")
                scene = None if below.parent == Path() else below.parent.as_posix()
                yield Picture(path, below.as_posix(), scene, entry.split, path, 0)
        elif os.path.isfile(place):
            rows, unreadable = read_rows(place)
            problems += unreadable
            for line, row in rows:
                path = Path(os.path.abspath(place.parent / row))
                stem = os.path.splitext(path)[0]
                name = stem.removeprefix(f"{place.parent}{os.sep}").removeprefix(f"images{os.sep}")
                yield Picture(path, name, None, entry.split, place, line)
        else:
            message = f"{entry.split}: no folder or file {place}"
            problems.append(Problem(description.path, entry.line, message))


def _changes(path: Path, names: list[str], size: tuple[int, int], problems: list[Problem]) -> list[Change]:
    """The boxes of a label file, in pixels."""
    labels, faults = read_labels(path, names)
    problems += faults
    wrong = {fault.line for fault in faults}
    lines = [line for line, row in read_rows(path)[0] if row.split("#")[0].strip() and line not in wrong]
    changes = []
    width, height = size
    for line, label, row in zip(lines, labels.class_labels, labels.boxes.tolist(), strict=True):
        cx, cy, w, h = row[0] * width, row[1] * height, row[2] * width, row[3] * height
        box = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
        fault = fault_of(box, size)
        if fault is None:
            changes.append(Change(int(label), None, box))
        else:
            problems.append(Problem(path, line, fault))
    return changes


def _lonely(description: DataYaml, labels: set[Path]) -> Iterator[Problem]:
    """Label files in the label folders of the splits that no picture has."""
    for entry in description.entries:
        folder = label_of(entry.place / "any.png").parent
        if os.path.isdir(entry.place):
            for path in _files(folder, (".txt",)):
                # Annotation tools leave the class names beside the labels.
                if path not in labels and path.name != "classes.txt":
                    yield Problem(path, 0, "its picture is missing")


def _files(folder: Path, extensions: tuple[str, ...]) -> Iterator[Path]:
    """Files below a folder, in an order that is always the same."""
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        for file in sorted(files):
            if file.lower().endswith(extensions) and file[0] != ".":
                yield Path(parent, file)
