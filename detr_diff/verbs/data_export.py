"""`detr-diff data export`: a data set as COCO or YOLO."""

import logging
import os
from collections import Counter
from pathlib import Path

from omegaconf import DictConfig
from rich.table import Table

from detr_diff.choices import ExportFormat, OnError, Pictures, SplitBy
from detr_diff.data.check import check
from detr_diff.data.description import class_names, read_description
from detr_diff.data.discovery import discover
from detr_diff.data.formats.coco_export import write_coco
from detr_diff.data.formats.yolo_export import write_yolo
from detr_diff.data.new_folder import new_folder
from detr_diff.data.split import split_usable
from detr_diff.errors import SettingError, UserError
from detr_diff.text import render

SPLITS = ("train", "val", "test")


def run(settings: DictConfig) -> int:
    """Write a new folder and count what is in it."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    data, out = settings.data, Path(settings.out).expanduser()
    if settings.format == ExportFormat.yolo and settings.pictures == Pictures.refer:
        raise SettingError("pictures=refer: YOLO needs diff images, which are written; use pictures=copy")
    root = Path(data.root).expanduser()
    names = class_names(root, data.names)
    with new_folder(out) as folder:
        found = check(discover(root, pairs=data.pairs, labels=data.labels, scene=data.scene), names)
        usable = found.accept(root, OnError(data.on_error))
        chosen = split_usable(usable, SplitBy(data.split_by), data.val, data.test, data.split_seed)
        parts = {
            split: usable.take([i for i, own in enumerate(chosen) if own == split])
            for split in SPLITS
            if split in chosen
        }
        if not parts:
            raise UserError(f"all pairs of {root} have frames on both sides of a cut in time")
        if settings.format == ExportFormat.coco:
            write_coco(folder, parts, names, Pictures(settings.pictures))
        else:
            write_yolo(folder, parts, names)
    table = Table("", *parts, title=str(out))
    counts = {split: Counter[str]() for split in parts}
    for split, items in parts.items():
        for item in items:
            counts[split].update(names[label] for label in item.labels.class_labels)
            counts[split]["pairs in which nothing moved"] += not len(item.labels)
    table.add_row("pairs", *(str(len(items)) for items in parts.values()))
    for row in ("pairs in which nothing moved", *names):
        table.add_row(row, *(str(count[row]) for count in counts.values()))
    print(render(table))
    if any((item.labels.places >= 0).any() for item in usable):
        print(f"{settings.format} does not say which boxes are old and which are new places: that is lost")
    places = None if data.labels else read_description(root).places
    if places is not None:
        said = f"`labels: {places}` into dataset.yaml"
        print(f"{settings.format} does not say which places are labelled: after an import, write {said}")
    other = sum(item.pair.scene != (os.path.dirname(item.pair.name) or None) for item in usable)
    if settings.format == ExportFormat.yolo and other:
        print(f"yolo has no scenes but folders: {other} pairs would have another after an import, or none")
    if None in chosen:
        print(f"{chosen.count(None)} pairs have frames on both sides of a cut in time and were left out")
    return 0
