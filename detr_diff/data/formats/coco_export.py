"""Writes labelled pairs as COCO files that name both frames of each pair."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from detr_diff.choices import Pictures
from detr_diff.data.labelled_pairs import LabelledPair
from detr_diff.data.progress import progress


def write_coco(
    folder: Path, parts: Mapping[str, Sequence[LabelledPair]], names: Sequence[str], pictures: Pictures
) -> None:
    """Write `annotations/<split>.json` and, where they are copied, `images/`.

    An image has the after frame as `file_name`, the before frame as `before_file_name` (a ready
    diff image has none), the name of the pair as `pair` and its scene as `scene`. Category ids
    are class indices plus 1. `bbox` is x y w h in pixels, in float64, of which the float32 label
    can be had back bit for bit. Relative file names start from `folder`.

    Args:
        folder: An existing folder.
        parts: The pairs of each split.
        names: Class names.
        pictures: Copy each frame once, or refer to it by its absolute path.
    """
    frames = _frames((item for items in parts.values() for item in items), pictures)
    if pictures is Pictures.copy:
        for source, name in progress(frames.items(), "copying the frames", len(frames)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / name)
    (folder / "annotations").mkdir()
    categories = [{"id": index, "name": name} for index, name in enumerate(names, start=1)]
    for split, items in parts.items():
        with (folder / "annotations" / f"{split}.json").open("w", encoding="utf-8") as file:
            file.write("{\n")
            _write_list(file, "categories", categories)
            file.write(",\n")
            _write_list(file, "images", progress(_images(items, frames), "writing the images", len(items)))
            file.write(",\n")
            _write_list(file, "annotations", _annotations(progress(items, "writing the boxes", len(items))))
            file.write("\n}\n")


def _frames(items: Iterable[LabelledPair], pictures: Pictures) -> dict[str, str]:
    """From the absolute path of every frame to the name that the COCO files have for it."""
    used = (path for item in items for path in (item.pair.before, item.pair.after) if path is not None)
    frames = list(dict.fromkeys(map(os.path.abspath, used)))
    if pictures is Pictures.refer:
        return {path: path for path in frames}
    root = os.path.commonpath([os.path.dirname(path) for path in frames])
    return {path: Path("images", os.path.relpath(path, root)).as_posix() for path in frames}


def _images(items: Iterable[LabelledPair], frames: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for number, item in enumerate(items, start=1):
        pair = item.pair
        image = {
            "id": number,
            "width": item.width,
            "height": item.height,
            "file_name": frames[os.path.abspath(pair.after)],
            "before_file_name": pair.before and frames[os.path.abspath(pair.before)],
            "pair": pair.name,
            "scene": pair.scene,
        }
        yield {key: value for key, value in image.items() if value is not None}


def _annotations(items: Iterable[LabelledPair]) -> Iterator[dict[str, Any]]:
    number = 0
    for image, item in enumerate(items, start=1):
        for label, row in zip(item.labels.class_labels.tolist(), item.labels.boxes.tolist(), strict=True):
            number += 1
            cx, cy, w, h = (
                value * side for value, side in zip(row, (item.width, item.height) * 2, strict=True)
            )
            yield {
                "id": number,
                "image_id": image,
                "category_id": label + 1,
                "bbox": [cx - w / 2, cy - h / 2, w, h],
                "area": w * h,
                "iscrowd": 0,
            }


def _write_list(file: TextIO, name: str, records: Iterable[dict[str, Any]]) -> None:
    """One record a line, so that a line number finds it."""
    file.write(f'"{name}": [')
    for index, record in enumerate(records):
        file.write(f"{',' if index else ''}\n{json.dumps(record)}")
    file.write("\n]")
