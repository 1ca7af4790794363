"""Writes labelled pairs as an Ultralytics tree of diff images."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import yaml

from detr_diff.data.diff import abs_diff
from detr_diff.data.formats.pair_names import PairNames
from detr_diff.data.formats.yolo import label_of
from detr_diff.data.image import read_image
from detr_diff.data.labelled_pairs import LabelledPair
from detr_diff.data.progress import progress


def write_yolo(folder: Path, parts: Mapping[str, Sequence[LabelledPair]], names: Sequence[str]) -> None:
    """Write `images/<split>/`, `labels/<split>/` and `data.yaml`.

    Ultralytics trains on single images: |after - before| is written as PNG. A ready diff image is
    copied. Labels have nine significant digits, which tell every float32 from its neighbours.

    Args:
        folder: An existing folder.
        parts: The pairs of each split.
        names: Class names.
    """
    unique = PairNames()
    for split, items in parts.items():
        for item in progress(items, f"writing {split}", len(items)):
            before, after = item.pair.before, item.pair.after
            suffix = ".png" if before is not None else after.suffix
            picture = folder.absolute() / "images" / split / f"{unique.unique(item.pair.name)}{suffix}"
            picture.parent.mkdir(parents=True, exist_ok=True)
            if before is None:
                shutil.copyfile(after, picture)
            else:
                diff = abs_diff(read_image(before), read_image(after)).permute(1, 2, 0).numpy()
                # Not PIL: OpenCV takes an eighth of the time and writes files as small.
                if not cv2.imwrite(str(picture), cv2.cvtColor(diff, cv2.COLOR_RGB2BGR)):
                    raise OSError(f"{picture}: cannot be written")
            label = label_of(picture)
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(_rows(item), encoding="ascii")
    # Without `path` places start from the folder of the file.
    content = {split: f"images/{split}" for split in parts} | {"names": dict(enumerate(names))}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    (folder / "data.yaml").write_text(text, encoding="utf-8")


def _rows(item: LabelledPair) -> str:
    rows = zip(item.labels.class_labels.tolist(), item.labels.boxes.tolist(), strict=True)
    return "".join(" ".join([str(label), *(f"{value:.9g}" for value in box)]) + "\n" for label, box in rows)
