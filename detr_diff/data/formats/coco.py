"""COCO files: one that names both frames of each pair, or one for each of the two frames."""

import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from detr_diff.data.formats.coco_file import CocoFile
from detr_diff.data.formats.coco_frames import compare
from detr_diff.data.formats.coco_records import read_coco
from detr_diff.data.formats.frame_size import FrameSizes
from detr_diff.data.formats.imported import Change, Imported, ImportedPair
from detr_diff.data.formats.pair_names import PairNames
from detr_diff.data.progress import progress
from detr_diff.errors import SettingError

SPLITS = {
    "train": {"train", "training"},
    "val": {"val", "valid", "validation"},
    "test": {"test", "testing"},
}


def read(src: Path, before: str | None, after: str | None, images: str | None, moved_iou: float) -> Imported:
    """Read COCO files.

    Without `before` and `after`: `src` is a file, or a folder with `annotations/*.json`, `*.json`
    or `*/*.json`, whose names or folders tell the split. An image names its frames in
    `before_file_name` and in `file_name` or `after_file_name`, and perhaps its `pair` and `scene`;
    or it is a ready diff image. The boxes are taken as they are.

    With them: `before` is the file of the earlier frames, `after` that of the later ones, and the
    objects are compared; see `compare`.

    Args:
        src: A COCO file, or the folder of all.
        before: COCO file of the earlier frames, seen from the folder `src`.
        after: COCO file of the later frames, seen from the folder `src`.
        images: Folder that file names start from, seen from the folder `src`; None: that of the
            COCO file, or the one above when that is called `annotations`.
        moved_iou: An object moved when old and new box overlap by at most this IoU.

    Raises:
        SettingError: Only one of `before` and `after` is given, or a file is not there.
    """
    if (before is None) != (after is None):
        raise SettingError(f"coco.before={before} coco.after={after}: give both or none")
    root = src if src.is_dir() else src.parent
    pictures = None if images is None else root / images
    if pictures is not None and not pictures.is_dir():
        raise SettingError(f"coco.images={images}: no folder {pictures}")
    for key, name in (("before", before), ("after", after)):
        if name is not None and not (root / name).is_file():
            raise SettingError(f"coco.{key}={name}: no file {root / name}")
    sources = (
        _files(src) if before is None or after is None else [(root / before, None), (root / after, None)]
    )
    files = [read_coco(path, pictures) for path, _ in sources]
    for file in files:
        names = [image.file_name for image in file.images.values()]
        if names and not any((file.pictures / name).exists() for name in names):
            raise SettingError(
                f"coco.images={images or 'null'}: none of the {len(names)} pictures of {file.path} is in "
                f"{file.pictures}, as {names[0]}; say which folder their names start from, seen from {root}"
            )
    # Ids may have gaps, and differ between the files; names are what classes have in common.
    named = chain.from_iterable(sorted(file.categories.items()) for file in files)
    imported = Imported(list(dict.fromkeys(name for _, name in named)))
    if before is None:
        _given(files, [split for _, split in sources], imported)
    else:
        compare(files[0], files[1], imported, moved_iou)
    for file in files:
        imported.problems += file.problems
    crowds = sum(file.crowds for file in files)
    if crowds:
        imported.notes.append(f"{crowds} annotations with iscrowd=1 mark no single object and were left out")
    return imported


def _files(src: Path) -> list[tuple[Path, str | None]]:
    """The COCO files of a source with the split that each is, if all tell."""
    paths, tells = [src], False
    if src.is_dir():
        for pattern in ("annotations/*.json", "*.json", "*/*.json"):
            if paths := sorted(src.glob(pattern)):
                tells = pattern == "*/*.json"
                break
        else:
            raise SettingError(f"src={src}: no COCO file (*.json) in it")
    splits = [_split(path.stem) or (_split(path.parent.name) if tells else None) for path in paths]
    return list(zip(paths, [None] * len(paths) if None in splits else splits, strict=True))


def _split(name: str) -> str | None:
    """The split that a name as `instances_val2017` tells; None when it tells none, or several."""
    words = re.findall("[a-z]+", name.lower())
    found = {split for split, synonyms in SPLITS.items() if synonyms & set(words)}
    return found.pop() if len(found) == 1 else None


def _given(files: Sequence[CocoFile], splits: Sequence[str | None], imported: Imported) -> None:
    """Add the pairs that the files name, with the boxes that they give."""
    imported.places = None
    ready = not any(image.before_file_name for file in files for image in file.images.values())
    names, sizes = PairNames(), FrameSizes()
    first: dict[tuple[Path | None, Path], str] = {}
    for file, split in zip(files, splits, strict=True):
        for image in progress(file.images.values(), f"looking at {file.path.name}", len(file.images)):
            before, after = None, file.pictures / image.file_name
            if image.before_file_name is not None:
                before = file.pictures / image.before_file_name
            elif not ready:
                file.report(image, "no before_file_name, which other images have")
                continue
            if (before, after) in first:
                file.report(image, f"the same frames as {first[before, after]}")
                continue
            first[before, after] = f"{image.what} in {file.path}"
            size = file.size(image, sizes, before, after)
            if size is None:
                continue
            changes = [
                Change(imported.names.index(found.category), None, found.box)
                for found in file.inside(image, size)
            ]
            name = names.unique(image.pair or image.stem)
            imported.pairs.append(ImportedPair(name, before, after, size, changes, image.scene, split))
