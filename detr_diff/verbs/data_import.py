"""`detr-diff data import`: make a data set from outside material."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.table import Table

from detr_diff.choices import ImportFormat, OnError, Pictures, Places
from detr_diff.compose import plain
from detr_diff.data.formats.imported import Imported
from detr_diff.data.formats.writing import Written, write
from detr_diff.data.new_folder import new_folder
from detr_diff.errors import SettingError, UserError
from detr_diff.text import render

Settings = Mapping[str, Any]


def run(settings: DictConfig) -> int:
    """Read the source, tell everything wrong with it, write the data set and a summary.

    Raises:
        SettingError: A setting is wrong, or `src` does not hold the format.
        UserError: The source has problems and on_error=refuse, or no pair can be made of it.
    """
    chosen = plain(settings)
    src, out = Path(chosen["src"]).expanduser(), Path(chosen["out"]).expanduser()
    _check(chosen, src)
    pictures = Pictures(chosen["pictures"])
    with new_folder(out) as folder:
        extracted = folder / "images" if pictures is Pictures.copy else None
        form = ImportFormat(chosen["format"])
        imported = READERS[form](src, chosen, extracted)
        count = len(imported.problems)
        for problem in imported.problems:
            print(problem)
        if count and chosen["on_error"] == OnError.refuse:
            raise UserError(f"{count} problems; mend them, or leave those rows out with on_error=skip")
        if not imported.pairs:
            reasons = "".join(f"; {note}" for note in imported.notes)
            raise UserError(f"src={src}: no frame pair can be made of it{reasons}")
        written = write(imported, folder, Places(chosen["labels"]), pictures)
    print(render(_table(imported, written, out)))
    for note in _notes(imported, written, Places(chosen["labels"])):
        print(note)
    if single := sum(pair.before is None for pair in imported.pairs):
        print(f"{single} pairs are a single picture, which is taken as a ready diff image: {FRAMES[form]}")
    if count:
        print(f"{count} problems: those rows and files were left out")
    print(f"{len(imported.pairs)} pairs in {out}")
    return 0


def _virat(src: Path, chosen: Settings, extracted: Path | None) -> Imported:
    from detr_diff.data.formats import virat

    return virat.read(src, chosen["moved_iou"])


def _mot(src: Path, chosen: Settings, extracted: Path | None) -> Imported:
    from detr_diff.data.formats import mot

    own = chosen["mot"]
    pairing = mot.Pairing(*(own[key] for key in ("distances", "stride", "val", "test", "gap")))
    visible, moved_iou = own["min_visible"], chosen["moved_iou"]
    return mot.read(src, own["frames"], own["names"], pairing, visible, moved_iou, extracted)


def _coco(src: Path, chosen: Settings, extracted: Path | None) -> Imported:
    from detr_diff.data.formats import coco

    own = chosen["coco"]
    return coco.read(src, own["before"], own["after"], own["images"], chosen["moved_iou"])


def _deeppcb(src: Path, chosen: Settings, extracted: Path | None) -> Imported:
    from detr_diff.data.formats import deeppcb

    return deeppcb.read(src)


def _yolo(src: Path, chosen: Settings, extracted: Path | None) -> Imported:
    from detr_diff.data.formats import yolo

    return yolo.read(src)


READERS: dict[ImportFormat, Callable[[Path, Settings, Path | None], Imported]] = {
    ImportFormat.virat: _virat,
    ImportFormat.mot: _mot,
    ImportFormat.coco: _coco,
    ImportFormat.deeppcb: _deeppcb,
    ImportFormat.yolo: _yolo,
}


# What to do where these are frames after all.
FRAMES = {
    ImportFormat.coco: "of frames coco.before and coco.after name the files, or the images before_file_name",
    ImportFormat.yolo: "of frames make pairs.csv with the columns before, after and label",
}


def _check(chosen: Settings, src: Path) -> None:
    """Refuse what no importer could do."""
    if not src.exists():
        raise SettingError(f"src={src}: no such file or folder")
    form, labels = chosen["format"], chosen["labels"]
    ready = form in (ImportFormat.yolo, ImportFormat.deeppcb)
    if form == ImportFormat.coco and chosen["coco"]["before"] is None and chosen["coco"]["after"] is None:
        ready, form = True, "coco without coco.before and coco.after"
    if ready and labels != Places.changed:
        raise SettingError(
            f"labels={labels}: {form} has ready labels, which labels=changed keeps as they are"
        )
    if form == ImportFormat.mot:
        _check_tracks(chosen["mot"])


def _check_tracks(own: Settings) -> None:
    if own["val"] + own["test"] >= 1:
        raise SettingError(f"mot.val={own['val']} mot.test={own['test']}: shares together below 1")
    for key in ("distances", "names"):
        if not own[key] or len(set(own[key])) < len(own[key]):
            raise SettingError(f"mot.{key}={own[key]}: a list of different values, at least one")
    if min(own["distances"]) < 1:
        raise SettingError(f"mot.distances={own['distances']}: each at least 1")


def _table(imported: Imported, written: Written, out: Path) -> Table:
    """Pairs, boxes and objects of each split."""
    splits = [split for split in ("train", "val", "test", None) if split in written.pairs]
    table = Table("", *(split or "pairs of no split" for split in splits), title=str(out))
    happened: Counter[tuple[str | None, str]] = Counter()
    for pair in imported.pairs:
        for change in pair.changes:
            what = "appeared" if change.before is None else "left" if change.after is None else "moved"
            happened[pair.split, what] += 1
        happened[pair.split, "stayed"] += pair.stayed
    table.add_row("pairs", *(str(written.pairs[split]) for split in splits))
    table.add_row("pairs without a box", *(str(written.empty[split]) for split in splits))
    for label, name in enumerate(imported.names):
        table.add_row(f"boxes: {name}", *(str(written.boxes[split, label]) for split in splits))
    if imported.places is not None:
        for what in ("moved", "appeared", "left", "stayed"):
            table.add_row(f"objects that {what}", *(str(happened[split, what]) for split in splits))
    return table


def _notes(imported: Imported, written: Written, wished: Places) -> list[str]:
    notes = list(imported.notes)
    if written.places is not None and written.places is not wished:
        notes.append(
            f"labels: {written.places}, not {wished}: the source does not tell what appeared or left"
        )
    elif written.places not in (None, Places.changed):
        notes.append(f"labels: {written.places}; objects that appeared or left have no box")
    if written.clipped:
        notes.append(f"{written.clipped} boxes were clipped to the picture")
    if written.shared:
        notes.append(f"{written.shared} boxes are the same as another one of their pair: written once")
    return notes
