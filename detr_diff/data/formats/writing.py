"""Writes imported frame pairs as an ordinary data set, in layout (b)."""

import csv
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from detr_diff.choices import Pictures, Places
from detr_diff.data.description import write_description
from detr_diff.data.formats.imported import Box, Imported, ImportedPair, clipped, labels_of
from detr_diff.data.progress import progress


@dataclass
class Written:
    """What a data set was written with.

    Attributes:
        places: Which places the labels name; None when the source does not say.
        pairs: Pairs of each split; None where the source names no split.
        empty: Those of them without an object.
        boxes: Boxes of each (split, class).
        clipped: Boxes that reached beyond the picture and were cut off at its border.
        shared: Boxes that several objects of a class share, each written once.
    """

    places: Places | None
    pairs: Counter[str | None] = field(default_factory=Counter)
    empty: Counter[str | None] = field(default_factory=Counter)
    boxes: Counter[tuple[str | None, int]] = field(default_factory=Counter)
    clipped: int = 0
    shared: int = 0


def write(imported: Imported, folder: Path, places: Places, pictures: Pictures) -> Written:
    """Write `pairs.csv`, `labels/`, `images/` and, last, `dataset.yaml`.

    Every frame is copied once, however many pairs use it, under its path below the folder that
    all frames have in common. Frames that are in `folder` already stay where they are.

    Args:
        imported: What to write. Either all of its pairs are ready diff images or none is; then
            pairs.csv has no column `before`.
        folder: An existing folder.
        places: The labels wished for; less is written when the source knows less.
        pictures: Copy the frames, or refer to them by their absolute path.
    """
    if imported.places is None or (imported.places is Places.both and places is Places.changed):
        written = Written(imported.places)
    else:
        written = Written(places)
    frames = _frames(imported.pairs, folder, pictures)
    if pictures is Pictures.copy:
        for source, name in progress(list(frames.items()), "copying the frames"):
            target = folder / name
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
    roles = ("after",) if all(pair.before is None for pair in imported.pairs) else ("before", "after")
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["pair", "scene", "split", *roles, "label"])
        for pair in progress(imported.pairs, "writing the labels"):
            label = f"labels/{pair.name}.txt"
            paths = [frames[os.path.abspath(getattr(pair, role))] for role in roles]
            rows.writerow([pair.name, pair.scene or "", pair.split or "", *paths, label])
            (folder / label).parent.mkdir(parents=True, exist_ok=True)
            (folder / label).write_text(_label(pair, written), encoding="ascii")
    write_description(folder, imported.names, written.places)
    return written


def _frames(pairs: Iterable[ImportedPair], folder: Path, pictures: Pictures) -> dict[str, str]:
    """From the absolute path of every frame to what pairs.csv calls it."""
    used = (path for pair in pairs for path in (pair.before, pair.after) if path is not None)
    frames = dict.fromkeys(os.path.abspath(path) for path in used)
    inside = {path for path in frames if Path(path).is_relative_to(folder.absolute())}
    outside = [path for path in frames if path not in inside]
    root = os.path.commonpath([os.path.dirname(path) for path in outside]) if outside else ""
    names = {}
    for path in frames:
        if path in inside:
            names[path] = Path(path).relative_to(folder.absolute()).as_posix()
        elif pictures is Pictures.copy:
            names[path] = Path("images", os.path.relpath(path, root)).as_posix()
        else:
            names[path] = path
    return names


def _label(pair: ImportedPair, written: Written) -> str:
    """The YOLO label file of a pair; counts what it holds."""
    lines: dict[str, tuple[int, str]] = {}  # class and box, to the class and what else the line says
    for number, change in enumerate(pair.changes):
        for box in labels_of(change, written.places):
            row = _row(box, pair.size)
            # Ready labels stay what they are, also beyond the picture, if a label file can hold them.
            if written.places is not None or not all(0 <= value <= 1 for value in row):
                inside = clipped(box, pair.size)
                written.clipped += inside != box
                row = _row(inside, pair.size)
            # The fewest digits that tell a float32 from its neighbours: labels are read as float32.
            line = " ".join([str(change.label), *(str(np.float32(value)) for value in row)])
            written.shared += line in lines
            # Of ready labels nobody knows which places they name.
            place = Places.before if box is change.before else Places.after
            said = "" if written.places is None else f" {place} {number}"
            lines.setdefault(line, (change.label, said))
    written.pairs[pair.split] += 1
    written.empty[pair.split] += not lines
    written.boxes.update((pair.split, label) for label, _ in lines.values())
    return "".join(f"{line}{said}\n" for line, (_, said) in lines.items())


def _row(box: Box, size: tuple[int, int]) -> Box:
    """cx, cy, w, h as shares of the picture."""
    (x0, y0, x1, y1), (width, height) = box, size
    return (x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height
