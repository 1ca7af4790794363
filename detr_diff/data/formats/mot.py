"""Frame pairs out of tracked video: two frames at a chosen distance, and what moved between them."""

import configparser
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detr_diff.data.formats.frame_source import FrameFolder, FrameSource, VideoFile
from detr_diff.data.formats.imported import Change, Imported, ImportedPair, iou
from detr_diff.data.formats.pair_names import PairNames
from detr_diff.data.formats.rows import integer
from detr_diff.data.formats.tracks import Tracks, read_tracks
from detr_diff.data.problem import Problem
from detr_diff.data.progress import progress
from detr_diff.errors import SettingError


@dataclass(frozen=True)
class Pairing:
    """Which frames become pairs.

    Attributes:
        distances: Frames between before and after, one pair for each.
        stride: Every how many frames a pair begins, counted from the first frame.
        val: Share of the frames that validates, the last before the test.
        test: Share of the frames that tests, the very last.
        gap: Frames left out on both sides of a cut in time.
    """

    distances: Sequence[int]
    stride: int
    val: float
    test: float
    gap: int


def read(
    src: Path,
    frames: str | None,
    names: Sequence[str],
    pairing: Pairing,
    min_visible: float,
    moved_iou: float,
    extracted: Path | None,
) -> Imported:
    """Read tracks and make pairs of their frames.

    With a `seqinfo.ini` every frame is annotated, from the first to `seqLength`. Without one, all
    from the first to the last tracked frame are, unless all tracked frames are several apart:
    then only every so many. Frames that are not annotated are not used, annotated ones without a
    row are frames without objects.

    Args:
        src: A track file; a folder with `gt/gt.txt`, `gt.txt` or `tracks.csv`; or a folder of
            such MOTChallenge folders, each of which is a scene.
        frames: Folder or video of the frames, seen from the folder of the sequence or from here;
            None: as `seqinfo.ini` says, else img1/ or frames/ of the sequence. The last number in
            its name tells which frame a picture is. The first frame of a video has number 1 in
            MOTChallenge, 0 in a csv.
        names: Class names in the order of the class ids.
        pairing: Which frames become pairs.
        min_visible: Objects less visible than this share do not count, in the frames where it is so.
        moved_iou: An object moved when its old and new box overlap by at most this IoU.
        extracted: Folder for the frames of a video; None when they must not be written.

    Raises:
        SettingError: There are no tracks or no frames.
    """
    found = Imported(list(names))
    tracks = _track_files(src)
    if frames is not None and len(tracks) > 1:
        raise SettingError(f"mot.frames={frames}: there are {len(tracks)} track files in {src}")
    pair_names = PairNames()
    for path in tracks:
        sequence = path.parent.parent if path.parent.name == "gt" else path.parent
        info = _Info(sequence / "seqinfo.ini", found.problems)
        source = _frame_source(sequence, frames or info.folder, extracted)
        read_in = read_tracks(path, names, min_visible, source.size)
        found.problems += read_in.problems
        found.notes += [f"{path}: {count} rows {why}: left out" for why, count in read_in.uncounted.items()]
        if read_in.uncounted and not any(read_in.frames.values()):
            found.problems.append(Problem(path, 0, f"no row counts: {'; '.join(read_in.uncounted)}"))
        if read_in.frames and read_in.first_number < (least := min(read_in.frames)):
            first = f"the first frame has number {read_in.first_number}"
            found.notes.append(f"{path}: {first}, the first tracked one {least}")
        prefix = f"{sequence.name}/" if len(tracks) > 1 else ""
        scene = sequence.absolute().name
        chosen = _choose(path, read_in, source, info.length, pairing, found)
        needed = {number for before, after, _ in chosen for number in (before, after)}
        files = source.paths(needed, read_in.first_number)
        for before, after, split in progress(chosen, "comparing the frames"):
            if before in files and after in files:
                name = pair_names.unique(f"{prefix}{before:06d}_{after:06d}")
                changes, stayed = _compare(read_in, before, after, moved_iou)
                paths = files[before], files[after]
                pair = ImportedPair(name, *paths, source.size, changes, scene, split, stayed)
                found.pairs.append(pair)
        found.problems += source.problems
        found.notes += source.notes
    found.notes += _lost_splits(pairing, found)
    return found


def _lost_splits(pairing: Pairing, found: Imported) -> list[str]:
    """What is to be said where a share of the time is too short for a pair."""
    have = {pair.split for pair in found.pairs}
    return [
        f"mot.{name}={share:g}: no pair is in {name}, whose frames are fewer than a distance and the gap; "
        f"take a larger share, or less than mot.distances={list(pairing.distances)}"
        for name, share in (("val", pairing.val), ("test", pairing.test))
        if share and have and name not in have
    ]


def _track_files(src: Path) -> list[Path]:
    if src.is_file():
        return [src]
    for name in ("gt/gt.txt", "gt.txt", "tracks.csv"):
        if (src / name).is_file():
            return [src / name]
    several = sorted(src.glob("*/gt/gt.txt"))
    if not several:
        raise SettingError(f"src={src}: neither gt/gt.txt, gt.txt, tracks.csv nor */gt/gt.txt in it")
    return several


class _Info:
    """What `seqinfo.ini` of MOTChallenge says, if there is one: folder and number of the frames."""

    def __init__(self, path: Path, problems: list[Problem]) -> None:
        self.folder: str | None = None
        self.length: int | None = None
        if not path.is_file():
            return
        content = configparser.ConfigParser(interpolation=None)
        try:
            content.read(path, encoding="utf-8-sig")
        except (configparser.Error, UnicodeDecodeError) as error:
            problems.append(Problem(path, 0, f"not readable: {str(error).splitlines()[0]}"))
            return
        if "Sequence" not in content:
            problems.append(Problem(path, 0, "no section [Sequence]"))
            return
        section = content["Sequence"]
        self.folder = section.get("imDir") or None
        self.length = integer(section.get("seqLength", ""))
        if "seqLength" in section and (self.length or 0) < 1:
            message = f"seqLength {section['seqLength']!r} is not a whole number from 1"
            problems.append(Problem(path, 0, message))


def _frame_source(sequence: Path, frames: str | None, extracted: Path | None) -> FrameSource:
    if frames is None:
        places = [sequence / "img1", sequence / "frames"]
        place = next((place for place in places if place.is_dir()), None)
        if place is None:
            raise SettingError(f"mot.frames=null: neither img1/ nor frames/ in {sequence}")
        return FrameFolder(place)
    place = next((p for p in (sequence / frames, Path(frames)) if p.exists()), None)
    if place is None:
        raise SettingError(f"mot.frames={frames}: no such folder or video, also not in {sequence}")
    if place.is_dir():
        return FrameFolder(place)
    if extracted is None:
        raise SettingError(f"pictures=refer: the frames of the video {place} must be copied")
    return VideoFile(place, extracted)


def _choose(
    path: Path, tracks: Tracks, source: FrameSource, length: int | None, pairing: Pairing, found: Imported
) -> list[tuple[int, int, str]]:
    """(before, after, split) of every pair of frames that is wanted and can be had."""
    pictures = set(source.numbers(tracks.first_number))
    for number in sorted(tracks.frames.keys() - pictures):
        message = f"frame {number} has no picture, the first one being {tracks.first_number}; "
        message += "the rows about it are left out"
        found.problems.append(Problem(path, tracks.lines[number], message))
    numbers = sorted(tracks.frames.keys() & pictures)
    step = 1
    if length is not None:
        numbers = [tracks.first_number, *numbers, tracks.first_number + length - 1]
    elif len(numbers) > 1:
        step = math.gcd(*(number - numbers[0] for number in numbers))
    elif not numbers:
        found.notes.append(f"{path}: no tracked frame")
        return []
    if step > 1:
        found.notes.append(f"{path}: annotated frames are {step} apart; only those are used")
    first, last = min(numbers), max(numbers)
    usable = sorted(f for f in pictures if first <= f <= last and (f - first) % step == 0)
    part = split_by_time(usable, pairing)
    chosen = []
    crossing = 0
    for distance in pairing.distances:
        for before in usable:
            if (before - usable[0]) % pairing.stride or before + distance not in part:
                continue
            split = part[before]
            if split is None or part[before + distance] != split:
                crossing += 1
            else:
                chosen.append((before, before + distance, split))
    if crossing:
        message = f"{crossing} pairs reach over a cut in time or into its gap: left out"
        found.notes.append(f"{path}: {message}")
    return sorted(chosen)


def split_by_time(numbers: Sequence[int], pairing: Pairing) -> dict[int, str | None]:
    """The split of each frame; None for those in the gap at a cut.

    Args:
        numbers: Frame numbers, ascending.
        pairing: Shares of the frames, and the gap in frame numbers: as many before the first frame
            after a cut are left out as from it on.
    """
    count = len(numbers)
    first_test = count - round(count * pairing.test)
    first_val = first_test - round(count * pairing.val)
    cuts = [numbers[index] for index in {first_val, first_test} if 0 < index < count]
    return {
        number: None
        if any(-pairing.gap <= number - cut < pairing.gap for cut in cuts)
        else ("train" if index < first_val else "val" if index < first_test else "test")
        for index, number in enumerate(numbers)
    }


def _compare(tracks: Tracks, before: int, after: int, moved_iou: float) -> tuple[list[Change], int]:
    """What moved, appeared and left between two frames, and how many objects stayed."""
    were, are = tracks.frames.get(before, {}), tracks.frames.get(after, {})
    changes, stayed = [], 0
    for track in sorted(were.keys() | are.keys()):
        old, new = were.get(track), are.get(track)
        if old is None or new is None or iou(old.box, new.box) <= moved_iou:
            label = (new or were[track]).label
            changes.append(Change(label, old.box if old else None, new.box if new else None))
        else:
            stayed += 1
    return changes, stayed
