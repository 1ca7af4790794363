"""Frame pairs and where they are found: layout (a), images/ and labels/; layout (b), pairs.csv."""

import csv
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from detr_diff.choices import Places
from detr_diff.data.problem import Problem
from detr_diff.errors import SettingError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
COLUMNS = ("before", "after", "label")


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


@dataclass
class Discovery:
    """What lies in a data folder."""

    pairs: list[FramePair] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class Description:
    """What `dataset.yaml` says.

    Attributes:
        names: Class names in order; empty when there is no dataset.yaml.
        places: Which places the labels name (`labels:`); None when it does not say.
    """

    names: list[str] = field(default_factory=list)
    places: Places | None = None


def read_description(root: Path) -> Description:
    """Read `dataset.yaml`: `names:`, a list or a map from index to name, and `labels:`.

    Raises:
        SettingError: The file has no usable names, or an unknown word at `labels:`.
    """
    path = root / "dataset.yaml"
    if not path.exists():
        return Description()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingError(f"{path}: not readable as YAML: {str(error).splitlines()[0]}") from error
    content = content if isinstance(content, dict) else {}
    names = content.get("names")
    if isinstance(names, dict) and sorted(names, key=str) == sorted(range(len(names)), key=str):
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list) or not names or len(set(map(str, names))) < len(names):
        raise SettingError(f"{path}: names must be a list of different class names, got {names!r}")
    places = content.get("labels")
    if places is not None and places not in list(Places):
        raise SettingError(f"{path}: labels: {places!r} is unknown, allowed: {', '.join(Places)}")
    return Description([str(name) for name in names], None if places is None else Places(places))


def write_description(root: Path, names: Sequence[str], places: Places | None) -> None:
    """Write `dataset.yaml`."""
    content: dict[str, object] = {"names": dict(enumerate(names))}
    if places is not None:
        content["labels"] = str(places)
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    (root / "dataset.yaml").write_text(text, encoding="utf-8")


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
    if labels is not None and not (root / labels).is_dir():
        raise SettingError(f"data.labels={labels}: no such folder in {root}")
    table = root / (pairs or "pairs.csv")
    if pairs is not None and not table.is_file():
        raise SettingError(f"data.pairs={pairs}: no such file in {root}")
    if table.is_file():
        found = _from_csv(root, table, labels, labelled)
    elif (root / "images").is_dir():
        found = _from_folders(root, labels or "labels", labelled)
    else:
        raise SettingError(f"data.root={root}: neither pairs.csv nor images/ in it")
    if not found.pairs and not found.problems:
        raise SettingError(f"data.root={root}: no frame pairs in it")
    if scene is not None:
        _name_scenes(found, scene)
    return found


def _from_csv(root: Path, table: Path, labels: str | None, labelled: bool) -> Discovery:
    found = Discovery()
    wanted = COLUMNS if labelled else COLUMNS[:2]
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        missing = [column for column in wanted if column not in (rows.fieldnames or [])]
        if missing:
            raise SettingError(f"{table}:1: no column {', '.join(missing)}")
        names: dict[str, int] = {}
        for row in rows:
            values = {key: (row.get(key) or "").strip() for key in (*COLUMNS, "pair")}
            empty = [column for column in wanted if not values[column]]
            if empty:
                found.problems.append(Problem(table, rows.line_num, f"{', '.join(empty)} is empty"))
                continue
            name = values["pair"] or Path(values["label"] or values["after"]).stem
            if name in names:
                message = f"pair {name!r} is already in line {names[name]}"
                found.problems.append(Problem(table, rows.line_num, message, name))
                continue
            names[name] = rows.line_num
            split = (row.get("split") or "").strip() or None
            if split not in (None, "train", "val", "test"):
                message = f"split {split!r} is unknown, allowed: train, val, test"
                found.problems.append(Problem(table, rows.line_num, message, name))
                split = None
            label = None
            if values["label"]:
                parts = Path(values["label"]).parts
                label = root / (Path(labels, *parts[1:]) if labels else Path(*parts))
            found.pairs.append(
                FramePair(
                    name=name,
                    before=root / values["before"],
                    after=root / values["after"],
                    label=label,
                    scene=(row.get("scene") or "").strip() or None,
                    split=split,
                )
            )
    return found


def _from_folders(root: Path, labels: str, labelled: bool) -> Discovery:
    found = Discovery()
    frames: dict[str, dict[str, Path]] = {}
    for path in _files(root / "images", EXTENSIONS):
        stem = path.relative_to(root / "images").with_suffix("").as_posix()
        name, role = stem, "ready"
        for suffix in ("before", "after"):
            if stem.endswith(f"_{suffix}"):
                name, role = stem.removesuffix(f"_{suffix}"), suffix
        if role in frames.setdefault(name, {}):
            message = f"a second {role} frame of pair {name}, beside {frames[name][role].name}"
            found.problems.append(Problem(path, 0, message, name))
        frames[name].setdefault(role, path)
    for name, roles in frames.items():
        label = root / labels / f"{name}.txt"
        known = label if labelled or label.exists() else None
        scene = str(Path(name).parent) if "/" in name else None
        if "before" in roles and "after" in roles:
            found.pairs.append(FramePair(name, roles["before"], roles["after"], known, scene))
        elif "ready" in roles:
            found.pairs.append(FramePair(name, None, roles["ready"], known, scene))
        else:
            (role, path), other = next(iter(roles.items())), "before"
            other = "after" if role == "before" else "before"
            found.problems.append(Problem(path, 0, f"its {other} frame is missing", name))
    if labelled and (root / labels).is_dir():
        for path in _files(root / labels, (".txt",)):
            name = path.relative_to(root / labels).with_suffix("").as_posix()
            if name not in frames:
                found.problems.append(Problem(path, 0, "its frames are missing", name))
    return found


def _files(folder: Path, extensions: tuple[str, ...]) -> Iterator[Path]:
    """Files below a folder, in an order that does not depend on the file system."""
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        for file in sorted(files):
            if file.lower().endswith(extensions) and not file.startswith("."):
                yield Path(parent, file)


def _name_scenes(found: Discovery, pattern: str) -> None:
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise SettingError(f"data.scene={pattern}: not a regular expression: {error}") from error
    for index, pair in enumerate(found.pairs):
        match = regex.search(pair.name)
        if match is None:
            raise SettingError(f"data.scene={pattern}: does not match pair {pair.name!r}")
        scene = match.group(1) if regex.groups else match.group()
        found.pairs[index] = FramePair(pair.name, pair.before, pair.after, pair.label, scene, pair.split)
