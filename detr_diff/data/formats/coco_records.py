"""Reads a COCO file record by record."""

from pathlib import Path
from reprlib import repr as short
from typing import Any

from detr_diff.data.formats.coco_file import CocoFile, CocoImage, CocoObject
from detr_diff.data.formats.imported import Box
from detr_diff.data.formats.json_records import Record, read_lists
from detr_diff.data.problem import Problem

TRACKS = ("track_id", "object_id", "instance_id")


class _Fault(Exception):
    """What is wrong with one record."""


def read_coco(path: Path, pictures: Path | None = None) -> CocoFile:
    """Read a COCO file; what cannot be used is among its problems.

    Args:
        path: The file.
        pictures: Folder that file names start from; None: that of the file, or the one above when
            that is called `annotations`.
    """
    lists, problems = read_lists(path)
    beside = path.parent.parent if path.parent.name == "annotations" else path.parent
    file = CocoFile(path, pictures or beside, problems=problems)
    if problems:
        return file
    reader = _Reader(file)
    for name, read in (
        ("categories", reader.category),
        ("images", reader.image),
        ("annotations", reader.annotation),
    ):
        if name not in lists:
            file.problems.append(Problem(path, 0, f"no list {name!r}, which every COCO file has"))
        for index, record in enumerate(lists.get(name, ())):
            what = f"{name}[{index}]"
            try:
                content = _object(record)
                what += f" (id {short(content['id'])})" if "id" in content else ""
                read(content, record.line, what)
            except _Fault as fault:
                file.problems.append(Problem(path, record.line, f"{what}: {fault}"))
    return file


class _Reader:
    """Puts records into a file, or says what is wrong with them."""

    def __init__(self, file: CocoFile) -> None:
        self._file = file
        self._names: set[str] = set()
        self._ids: set[int] = set()

    def category(self, content: dict[str, Any], line: int, what: str) -> None:
        number, name = _integer(content, "id"), _text(content, "name")
        if number in self._file.categories or name in self._names:
            raise _Fault(f"id {number} or name {short(name)} is there already")
        self._names.add(name)
        self._file.categories[number] = name

    def image(self, content: dict[str, Any], line: int, what: str) -> None:
        number = _integer(content, "id")
        if number in self._file.images:
            raise _Fault("the id is there already")
        sized = content.get("width") is not None or content.get("height") is not None
        self._file.images[number] = CocoImage(
            line=line,
            what=what,
            id=number,
            file_name=_text(content, "after_file_name" if "after_file_name" in content else "file_name"),
            before_file_name=_optional_text(content, "before_file_name"),
            size=(_integer(content, "width"), _integer(content, "height")) if sized else None,
            pair=_optional_text(content, "pair"),
            scene=_optional_text(content, "scene"),
        )

    def annotation(self, content: dict[str, Any], line: int, what: str) -> None:
        # Nothing refers to annotations: without an id they are as good.
        number = _integer(content, "id") if "id" in content else None
        image, category = _integer(content, "image_id"), _integer(content, "category_id")
        crowd = content.get("iscrowd", 0)
        if number in self._ids:
            raise _Fault("the id is there already")
        if image not in self._file.images:
            raise _Fault(f"image_id {image} is unknown")
        if category not in self._file.categories:
            raise _Fault(f"category_id {category} is unknown")
        if crowd not in (0, 1):
            raise _Fault(f"iscrowd {short(crowd)}, allowed: 0, 1")
        name = self._file.categories[category]
        found = CocoObject(line, what, name, _box(content), _track(content))
        if number is not None:
            self._ids.add(number)
        if crowd:
            self._file.crowds += 1
        else:
            self._file.objects.setdefault(image, []).append(found)


def _object(record: Record) -> dict[str, Any]:
    if not isinstance(record.value, dict):
        raise _Fault(f"{short(record.value)} is no object")
    if record.twice:
        raise _Fault(f"{short(record.twice[0])} is given twice")
    return record.value


def _integer(content: dict[str, Any], key: str) -> int:
    value = content.get(key)
    # True is an integer to Python. SQL and numpy end at 19 digits.
    if type(value) is not int or abs(value) >= 2**63:
        raise _Fault(f"{key} must be a whole number, got {short(value)}")
    return value


def _text(content: dict[str, Any], key: str) -> str:
    value = content.get(key)
    if not isinstance(value, str) or not value.strip():
        raise _Fault(f"{key} must be text, got {short(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _Fault(f"{key} {short(value)} is not UTF-8 text") from error
    return value


def _optional_text(content: dict[str, Any], key: str) -> str | None:
    return None if content.get(key) is None else _text(content, key)


def _box(content: dict[str, Any]) -> Box:
    bbox = content.get("bbox")
    if not (isinstance(bbox, list) and len(bbox) == 4 and all(map(_is_number, bbox))):
        raise _Fault(f"bbox must be four finite numbers x, y, w, h, got {short(bbox)}")
    x, y, w, h = map(float, bbox)
    if w <= 0 or h <= 0:
        raise _Fault(f"bbox {bbox}: width and height must be greater than 0")
    return x, y, x + w, y + h


def _is_number(value: object) -> bool:
    # Beyond 1e9 the area of a box is no number any more.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e9


def _track(content: dict[str, Any]) -> str | None:
    """What follows the object through the frames; CVAT writes it among the attributes."""
    attributes = content.get("attributes")
    for place in (content, attributes if isinstance(attributes, dict) else {}):
        for key in TRACKS:
            value = place.get(key)
            if isinstance(value, int | str) and not isinstance(value, bool):
                return f"{key} {value}"
            if value is not None:
                raise _Fault(f"{key} must be a whole number or text, got {short(value)}")
    return None
