"""Compares the objects of two COCO files, one of earlier and one of later frames."""

import os
from collections.abc import Callable, Iterator

from detr_diff.data.discovery import ROLE
from detr_diff.data.formats.coco_file import CocoFile, CocoImage, CocoObject
from detr_diff.data.formats.frame_files import number_of
from detr_diff.data.formats.frame_size import FrameSizes
from detr_diff.data.formats.hungarian import Sighting, changes_between
from detr_diff.data.formats.imported import Change, Imported, ImportedPair, iou
from detr_diff.data.formats.pair_names import PairNames
from detr_diff.data.image import read_image
from detr_diff.data.progress import progress

KEYS: dict[str, Callable[[CocoImage], object]] = {
    "path": lambda image: image.stem,
    "file name": lambda image: os.path.basename(image.stem),
    "file name without before and after": lambda image: ROLE.sub("", os.path.basename(image.stem)),
    "id": lambda image: image.id,
}


def compare(earlier: CocoFile, later: CocoFile, imported: Imported, moved_iou: float) -> None:
    """Add the pairs of two files, with the objects that changed place.

    Two images are partners when their paths are the same without extension and `_before` or
    `_after`; where no two paths are, when their file names are, perhaps without `before` and `after`
    anywhere in them; else when their ids are. Objects
    are the same when their `track_id`, `object_id` or `instance_id` is, if all have one; otherwise
    they are matched by `changes_between`.

    Args:
        earlier: The file of the before frames.
        later: The file of the after frames.
        imported: Has the class names, and gets the pairs.
        moved_iou: An object moved when old and new box overlap by at most this IoU.
    """
    followed = all(found.track for file in (earlier, later) for own in file.objects.values() for found in own)
    how = "their ids" if followed else "the Hungarian method"
    imported.notes.append(f"the objects of the two files were matched by {how}")
    names, sizes = PairNames(), FrameSizes()
    for old, new in progress(list(_partners(earlier, later, imported)), "comparing the frames"):
        before, after = earlier.pictures / old.file_name, later.pictures / new.file_name
        # Each file may have its own idea of the size.
        if earlier.size(old, sizes, None, before) is None:
            continue
        size = later.size(new, sizes, before, after)
        if size is None:
            continue
        were, are = earlier.inside(old, size), later.inside(new, size)
        if followed:
            changes, stayed = _follow(were, are, (earlier, later), imported.names, moved_iou)
        else:
            sightings = [
                [Sighting(imported.names.index(found.category), found.box) for found in own]
                for own in (were, are)
            ]
            frames = [read_image(path).permute(1, 2, 0).numpy() for path in (before, after)]
            changes, stayed = changes_between(sightings[0], sightings[1], (frames[0], frames[1]), moved_iou)
        name = names.unique(new.pair or new.stem)
        imported.pairs.append(ImportedPair(name, before, after, size, changes, new.scene, None, stayed))


def _partners(
    earlier: CocoFile, later: CocoFile, imported: Imported
) -> Iterator[tuple[CocoImage, CocoImage]]:
    """Images of the two files that belong together; those without a partner become problems."""
    for what, key in KEYS.items():  # noqa: B007 - the last one stays
        old = {key(image): image for image in earlier.images.values()}
        new = {key(image): image for image in later.images.values()}
        unique = (len(old), len(new)) == (len(earlier.images), len(later.images))
        if unique and old.keys() & new.keys():
            break
    imported.notes.append(f"the images of the two files were paired by {what}")
    if what == "id" and old.keys() & new.keys():
        numbers = [[number_of(side[key].stem) for side in (old, new)] for key in old.keys() & new.keys()]
        apart = {after - before for before, after in numbers if before is not None and after is not None}
        if len(apart) > 1:
            imported.notes.append(
                f"the numbers in their names are {min(apart)} to {max(apart)} apart: are the ids of pairs?"
            )
    for file, own, other, partners in ((earlier, old, later, new), (later, new, earlier, old)):
        for name, image in own.items():
            if name not in partners:
                file.report(image, f"no image has the same {what} in {other.path}")
    yield from ((old[name], image) for name, image in new.items() if name in old)


def _follow(
    were: list[CocoObject],
    are: list[CocoObject],
    files: tuple[CocoFile, CocoFile],
    names: list[str],
    moved_iou: float,
) -> tuple[list[Change], int]:
    """Compare objects that have ids: what moved, appeared and left, and how many stayed."""
    tracks: tuple[dict[str, CocoObject], dict[str, CocoObject]] = {}, {}
    for file, objects, own in zip(files, (were, are), tracks, strict=True):
        for found in objects:
            if own.setdefault(str(found.track), found) is not found:
                file.report(found, f"{found.track} is there already in this image")
    changes, stayed = [], 0
    for track, latest in (tracks[0] | tracks[1]).items():
        old, new = tracks[0].get(track), tracks[1].get(track)
        category = latest.category
        if old is not None and new is not None:
            if old.category != category:
                files[1].report(new, f"{track} is {category}, but {old.category} in the before frame")
                continue
            if iou(old.box, new.box) > moved_iou:
                stayed += 1
                continue
        boxes = [None if found is None else found.box for found in (old, new)]
        changes.append(Change(names.index(category), boxes[0], boxes[1]))
    return changes, stayed
