"""The data.yaml of Ultralytics, with its lines."""

import os
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as short
from typing import Any, NoReturn

import yaml

from detr_diff.data.problem import Problem
from detr_diff.errors import UserError

SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Entry:
    """A folder of pictures or a list of them, that may be missing; `line` names it in the data.yaml."""

    split: str
    place: Path
    line: int


@dataclass(frozen=True)
class DataYaml:
    """What a data.yaml says: the class names in order, and what each split is made of."""

    path: Path
    names: list[str]
    entries: list[Entry]


def read_data_yaml(path: Path) -> DataYaml:
    """Read a data.yaml.

    Places start from `path`, which itself starts from the folder of the file and is that folder
    when it is not given. `../train` means `train` when there is nothing there, as in Ultralytics.

    Raises:
        UserError: It cannot be read, or names no classes or no split; with the line.
    """
    return _Reader(path).read()


class _Reader:
    """Reads the nodes of a YAML file: they know their lines, and `no` stays the name of a class."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> DataYaml:
        content = self._map(self._root())
        if "names" not in content:
            self._refuse(0, "no names")
        folder = Path(os.path.abspath(self._path.parent))
        path = content.get("path")
        if isinstance(path, yaml.SequenceNode):
            self._refuse(_line(path), "path: one folder expected, got a list")
        for line, text in self._texts(path):
            folder = folder / text
            if not os.path.isdir(folder):
                self._refuse(line, f"path: no folder {folder}")
        entries = [
            Entry(split, _place(folder, text), line)
            for key, split in SPLITS.items()
            for line, text in self._texts(content.get(key))
        ]
        if not entries:
            self._refuse(0, f"no pictures: give {', '.join(SPLITS)}")
        return DataYaml(self._path, self._names(content["names"]), entries)

    def _root(self) -> Any:
        try:
            return yaml.compose(self._path.read_bytes().decode("utf-8-sig"), Loader=yaml.SafeLoader)
        except OSError as error:
            raise UserError(f"{self._path}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            return self._refuse(line, "not UTF-8 text")
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            return self._refuse(mark.line + 1 if mark else 0, f"not readable as YAML: {error.problem}")
        except (yaml.YAMLError, RecursionError) as error:
            return self._refuse(0, f"not readable as YAML: {str(error).splitlines()[0]}")

    def _names(self, node: Any) -> list[str]:
        items = node.value
        if isinstance(node, yaml.MappingNode):
            by_index = self._map(node)
            indices = [str(index) for index in range(len(by_index))]
            if set(by_index) != set(indices):
                self._refuse(_line(node), f"names must be numbered 0, 1, ..., got {short(list(by_index))}")
            items = [by_index[index] for index in indices]
        elif not isinstance(node, yaml.SequenceNode):
            self._refuse(_line(node), f"names must be a list or a map, got {short(node.value)}")
        names: list[str] = []
        for item in items:
            if not isinstance(item, yaml.ScalarNode):
                self._refuse(_line(item), "a class name expected")
            if not item.value or not item.value.isprintable() or item.value in names:
                self._refuse(_line(item), f"{short(item.value)} is no class name, or is there twice")
            names.append(item.value)
        if not names:
            self._refuse(_line(node), "names is empty")
        return names

    def _map(self, node: Any) -> dict[str, Any]:
        """The nodes of a map by their keys."""
        if not isinstance(node, yaml.MappingNode):
            self._refuse(0 if node is None else _line(node), "not a map with names, train and val")
        content: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in content:
                self._refuse(_line(key), f"{short(key.value)} is no key, or is there twice")
            content[key.value] = value
        return content

    def _texts(self, node: Any) -> list[tuple[int, str]]:
        """(line, text) of a text or of a list of texts; empty when there is nothing."""
        if node is None or node.tag == "tag:yaml.org,2002:null":
            return []
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for item in items:
            if not isinstance(item, yaml.ScalarNode):
                self._refuse(_line(item), "text expected")
        return [(_line(item), item.value) for item in items]

    def _refuse(self, line: int, message: str) -> NoReturn:
        raise UserError(str(Problem(self._path, line, message)))


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1


def _place(folder: Path, text: str) -> Path:
    place = folder / text
    if not os.path.exists(place) and text.startswith("../"):
        place = folder / text[3:]
    return Path(os.path.normpath(place))
