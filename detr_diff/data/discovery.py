"""Where frame pairs are found: layout (a), images/ and labels/; layout (b), pairs.csv."""

import csv
import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np

from detr_diff.choices import Split
from detr_diff.data.frame_pair import FramePair, FramePairs
from detr_diff.data.image import is_utf8
from detr_diff.data.problem import Problem
from detr_diff.data.progress import progress
from detr_diff.data.strings import Strings
from detr_diff.errors import SettingError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
SPLITS = (None, Split.train, Split.val, Split.test)
SceneOf = Callable[[str, str | None], str | None]  # from the name and the scene so far


log = logging.getLogger(__name__)

COLUMNS = ("pair", "before", "after", "label", "scene", "split")
ROLE = re.compile(
    r"(?<![a-z])(before|after)(?![a-z])[-_. ]?", re.IGNORECASE
)  # anywhere in the name of a frame
CLASSES = "classes.txt"  # labelling tools put it beside the labels


@dataclass
class Discovery:
    """What lies in a data folder."""

    pairs: FramePairs
    problems: list[Problem] = field(default_factory=list)


def discover(
    root: Path,
    *,
    pairs: str | None = None,
    labels: str | None = None,
    scene: str | None = None,
    labelled: bool = True,
) -> Discovery:
    """Find the frame pairs of a data folder, recursively.

    Args:
        root: The folder. With a pairs.csv it is read as layout (b), else as layout (a).
        pairs: Another csv, relative to `root`.
        labels: Another label folder, relative to `root`.
        scene: Regular expression searched in the pair's name; its first group (or the whole
            match) names the scene.
        labelled: Whether every pair must have a label file.

    Raises:
        SettingError: `root`, `pairs` or `labels` does not exist, or nothing was found.
    """
    if not root.is_dir():
        raise SettingError(f"data.root={root}: no such folder")
    if not is_utf8(str(root)):
        raise SettingError(f"data.root={str(root)!a}: its name is not UTF-8 text")
    if labels is not None and not (root / labels).is_dir():
        raise SettingError(f"data.labels={labels}: no such folder in {root}")
    table = root / (pairs or "pairs.csv")
    if pairs is not None and not table.is_file():
        raise SettingError(f"data.pairs={pairs}: no such file in {root}")
    scene_of = _scene_of(scene)
    if table.is_file():
        items = _from_csv(root, table, labels, labelled, scene_of)
    elif (root / "images").is_dir():
        items = _from_folders(root, labels or "labels", labelled, scene_of)
    else:
        raise SettingError(f"data.root={root}: neither pairs.csv nor images/ in it")
    found = Discovery(FramePairs(root))
    ready = []
    for item in progress(items, "finding the frame pairs"):
        if isinstance(item, Problem):
            found.problems.append(item)
            continue
        found.pairs.append(item)
        if item.before is None:
            ready.append(item.name)
    if 0 < len(ready) < len(found.pairs):
        log.warning(
            "%d pictures are taken as ready diff images, %d pairs have two frames: %s; names of frames end "
            "in _before and _after, or begin with before_ and after_",
            len(ready),
            len(found.pairs) - len(ready),
            ", ".join(ready[:5]),
        )
    if ready and len(ready) == len(found.pairs):
        log.info("all %d pictures are taken as ready diff images: no pair has a before frame", len(ready))
    if not found.pairs and not found.problems:
        raise SettingError(f"data.root={root}: no frame pairs in it")
    return found


def _scene_of(pattern: str | None) -> SceneOf:
    if pattern is None:
        return lambda name, scene: scene
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise SettingError(f"data.scene={pattern}: not a regular expression: {error}") from error

    def scene_of(name: str, scene: str | None) -> str:
        match = regex.search(name)
        if match is None:
            raise SettingError(f"data.scene={pattern}: does not match pair {name!r}")
        # A group that is optional may have no part in the match.
        return str((regex.groups and match.group(1)) or match.group())

    return scene_of


def _from_csv(
    root: Path, table: Path, labels: str | None, labelled: bool, scene_of: SceneOf
) -> Iterator[FramePair | Problem]:
    seen: dict[int, int] = {}  # line of each name; its hash is smaller than the name
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            columns = rows.fieldnames or []
            for column in columns:
                meant = column.strip().casefold()
                if column != meant and meant in COLUMNS:
                    raise SettingError(f"{table}:1: column {column!r}: {meant!r} is what it must be called")
            missing = [column for column in ("after", "label")[: 1 + labelled] if column not in columns]
            if missing:
                raise SettingError(
                    f"{table}:1: no column {', '.join(missing)}; found: {' | '.join(map(str, columns))}; "
                    "names in small letters, separated by commas"
                )
            wanted = [name for name in ("before", "after", "label")[: 2 + labelled] if name in columns]
            for row in rows:
                if None in row:
                    fields = len(columns) + len(row[None])
                    yield Problem(table, rows.line_num, f"{fields} fields, {len(columns)} expected")
                    continue
                values = {key: (row.get(key) or "").strip() for key in columns}
                empty = [column for column in wanted if not values[column]]
                if empty:
                    yield Problem(table, rows.line_num, f"{', '.join(empty)} is empty")
                    continue
                label = values.get("label", "")
                name = values.get("pair") or _name_of(Path(label or values["after"]))
                first = seen.setdefault(hash(name), rows.line_num)
                if first != rows.line_num:
                    message = f"pair {name!r} is already in line {first}; a column pair can name them"
                    yield Problem(table, rows.line_num, message)
                    continue
                split = values.get("split") or None
                if split not in SPLITS:
                    message = f"split {split!r} is unknown, allowed: train, val, test"
                    yield Problem(table, rows.line_num, message, name)
                    split = None
                yield FramePair(
                    name=name,
                    before=root / values["before"] if "before" in columns else None,
                    after=root / values["after"],
                    label=_label(root, label, labels),
                    scene=scene_of(name, values.get("scene") or None),
                    split=split,
                )
    except UnicodeDecodeError as error:
        raise SettingError(f"{table}: not UTF-8 text, at byte {error.start}") from error
    except csv.Error as error:
        raise SettingError(f"{table}:{rows.line_num}: not readable as csv: {error}") from error


def _name_of(path: Path) -> str:
    """A pair's name from its label file or after frame: the path below the first folder, as in layout (a)."""
    below = path.parts[1:] if len(path.parts) > 1 and not path.is_absolute() else path.parts[-1:]
    return os.path.splitext("/".join(below))[0]


def _label(root: Path, label: str, labels: str | None) -> Path | None:
    if not label:
        return None
    parts = Path(label).parts
    return root / (Path(labels, *(parts[1:] or parts)) if labels else label)


def _from_folders(
    root: Path, labels: str, labelled: bool, scene_of: SceneOf
) -> Iterator[FramePair | Problem]:
    hashes: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
    for parent, scene, files in _walk(root / "images", EXTENSIONS):
        files.sort(key=_name_and_role)
        names = []
        for stem, group in groupby(files, key=lambda file: _name_and_role(file)[0]):
            name = f"{scene}/{stem}" if scene else stem
            names.append(hash(name))
            frames: dict[str, str] = {}
            for file in group:
                role = _name_and_role(file)[1]
                if role in frames:
                    message = f"a second {role} frame of pair {name}, beside {frames[role]}"
                    yield Problem(Path(parent, file), 0, message, name)
                frames.setdefault(role, file)
            label = root / labels / f"{name}.txt"
            known = label if labelled or label.exists() else None
            if frames.keys() == {"before", "after"}:
                before, after = Path(parent, frames["before"]), Path(parent, frames["after"])
            elif frames.keys() == {"ready"}:
                before, after = None, Path(parent, frames["ready"])
            else:
                if "ready" in frames:
                    message = f"a ready diff image of pair {name}, which has frames too"
                    yield Problem(Path(parent, frames.pop("ready")), 0, message, name)
                for role, other in (("before", "after"), ("after", "before")):
                    if role in frames and other not in frames:
                        yield Problem(Path(parent, frames[role]), 0, f"its {other} frame is missing", name)
                continue
            yield FramePair(name, before, after, known, scene_of(name, scene or None))
        hashes.append(np.array(names, np.int64))
    if labelled and (root / labels).is_dir():
        yield from _without_frames(root / labels, np.concatenate([*hashes, np.zeros(0, np.int64)]))


def _without_frames(folder: Path, names: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Iterator[Problem]:
    """Label files whose name, hashed, is none of `names`."""
    stems = Strings()
    hashes = []
    for _, scene, files in _walk(folder, (".txt",)):
        for file in sorted(set(files) - {CLASSES}):
            stems.append(f"{scene}/{file[:-4]}" if scene else file[:-4])
            hashes.append(hash(stems[-1]))
    for index in np.nonzero(~np.isin(np.array(hashes, np.int64), names))[0].tolist():
        name = stems[index]
        pair, role = _name_and_role(name.rpartition("/")[2])
        message = "its frames are missing"
        if role != "ready":
            message = f"is called after one frame; the label file of its pair would be {pair}.txt"
        yield Problem(folder / f"{name}.txt", 0, message, name)


def _name_and_role(file: str) -> tuple[str, str]:
    """(pair, before | after | ready) of a picture's file name."""
    stem = os.path.splitext(file)[0]
    roles = ("before", "after")
    for role in roles:
        if stem.lower().endswith(f"_{role}"):
            return stem[: -len(role) - 1], role
    for role in roles:
        if stem.lower().startswith(f"{role}_"):
            return stem[len(role) + 1 :], role
    return stem, "ready"


def _walk(folder: Path, extensions: tuple[str, ...]) -> Iterator[tuple[str, str, list[str]]]:
    """(folder, its path below the first with slashes, files), in an order that is always the same."""
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        below = Path(parent).relative_to(folder).as_posix()
        kept = [file for file in files if file.lower().endswith(extensions) and file[0] != "."]
        for name in (parent, *kept):
            if not is_utf8(name):
                raise SettingError(f"{os.path.join(parent, name)!a}: its name is not UTF-8 text; rename it")
        yield parent, "" if below == "." else below, kept
