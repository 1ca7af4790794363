"""VIRAT frame pairs in the layout of the course project that MOT-TR comes from.

`index.txt` has lines `image1,annotation1,image2,annotation2`, paths from its own folder; each
annotation has rows `object_id duration frame x y w h type` in pixels, x y the top left corner.
The ids of the objects are not reliable, so that the objects of the two frames are matched by what
they look like and where they are (hungarian.py), or as a ready-made match file says.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from detr_diff.choices import Places
from detr_diff.data.formats.frame_files import number_of
from detr_diff.data.formats.frame_size import FrameSizes
from detr_diff.data.formats.hungarian import Frame, Sighting, changes_between
from detr_diff.data.formats.imported import Change, Imported, ImportedPair
from detr_diff.data.formats.pair_names import PairNames
from detr_diff.data.formats.rows import read_rows
from detr_diff.data.formats.virat_annotation import NAMES, UNKNOWN, read_annotation
from detr_diff.data.formats.virat_match import SUFFIX, FrameFolders, read_matches
from detr_diff.data.image import read_image
from detr_diff.data.problem import Problem
from detr_diff.data.progress import progress
from detr_diff.errors import SettingError

# VIRAT names its recordings S_XXYYZZ: collection, scene, recording (release 2.0, file names).
_RECORDING = re.compile(r"(?<![A-Za-z])S_([0-9]{4})[0-9]{2}(?![0-9])", re.ASCII)


@dataclass(frozen=True)
class _Job:
    """Two frames and what says what is in them; `line` of `source` asked for it."""

    source: Path
    line: int
    before: Path
    after: Path
    annotations: tuple[Path, Path] | None
    matches: Path | None


def read(src: Path, moved_iou: float) -> Imported:
    """Read frame pairs and find what moved in them.

    A pair with a ready-made match file below the folder of index.txt is taken from that file. It
    does not know what appeared or left, so that then the whole set does not. Without an index.txt
    the match files are the pairs.

    Args:
        src: The folder of index.txt, or that file, or a folder with match files and frames.
        moved_iou: An object moved when its old and new box overlap by at most this IoU.

    Returns:
        The pairs, in the order of the index. Their scene is the camera where the folders name
        recordings of at least three of them, else the recording, else the folder.

    Raises:
        SettingError: There is neither an index.txt nor a match file.
    """
    folder = src.parent if src.is_file() else src
    index = src if src.is_file() else src / "index.txt"
    found = Imported(list(NAMES))
    matches: dict[str, Path] = {}
    for path in sorted(folder.rglob(f"*{SUFFIX}")):
        if path.name in matches:
            found.problems.append(Problem(path, 0, f"the same name as {matches[path.name]}"))
        matches.setdefault(path.name, path)
    if index.is_file():
        jobs = list(_indexed(index, matches, found.problems))
        unused = set(matches.values()) - {job.matches for job in jobs}
        if unused:
            found.notes.append(f"match files of no pair in {index.name}, not used: {len(unused)}")
    elif matches:
        jobs = list(_matched(folder, list(matches.values()), found.problems))
    else:
        raise SettingError(f"src={src}: neither index.txt nor files *{SUFFIX} in it")
    _Reader(found, jobs, moved_iou).read()
    _name_scenes(found)
    return found


def _indexed(index: Path, matches: dict[str, Path], problems: list[Problem]) -> Iterator[_Job]:
    """The pairs of an index.txt."""
    lines, unreadable = read_rows(index)
    problems += unreadable
    first_line: dict[tuple[Path, Path], int] = {}
    for line, text in lines:
        fields = [field.strip().replace("\\", "/") for field in text.split(",")]
        if len(fields) != 4 or not all(fields):
            message = "4 paths expected: image1,annotation1,image2,annotation2"
            problems.append(Problem(index, line, f"{len([f for f in fields if f])} paths, {message}"))
            continue
        before, old, after, new = (Path(os.path.abspath(index.parent / field)) for field in fields)
        if before == after:
            problems.append(Problem(index, line, f"both frames are {fields[0]}"))
        elif (before, after) in first_line:
            message = f"the same frames as line {first_line[before, after]}"
            problems.append(Problem(index, line, message))
        else:
            first_line[before, after] = line
            numbered = f"{before.parent.name}-{number_of(before.stem)}-{number_of(after.stem)}"
            match = matches.get(f"{before.parent.name}-{before.stem}-{after.stem}{SUFFIX}")
            match = match or matches.get(f"{numbered}{SUFFIX}")
            yield _Job(index, line, before, after, (old, new), match)


def _matched(folder: Path, matches: list[Path], problems: list[Problem]) -> Iterator[_Job]:
    """The pairs that match files stand for."""
    folders = FrameFolders(folder)
    for path in progress(matches, "finding the frames"):
        frames = folders.frames(path)
        if isinstance(frames, str):
            problems.append(Problem(path, 0, frames))
        else:
            yield _Job(path, 0, *frames, None, path)


class _Reader:
    """Reads the pairs; an annotation or frame that several of them share is read once."""

    def __init__(self, found: Imported, jobs: list[_Job], moved_iou: float) -> None:
        self._found, self._jobs, self._moved_iou = found, jobs, moved_iou
        self._sizes, self._names = FrameSizes(), PairNames()
        self._seen: dict[tuple[Path, tuple[int, int]], list[Sighting] | None] = {}

    def read(self) -> None:
        """Fill `found`."""
        done = []
        for job in progress(self._jobs, "matching the objects"):
            size = self._sizes.of(job.before, job.after)
            if isinstance(size, Problem):
                self._found.problems.append(Problem(job.source, job.line, str(size)))
                continue
            result = self._changes(job, size)
            if result is not None:
                done.append((job, size, *result))
        # The name of a folder, and as much of its path as tells it from the others.
        folders = [job.before.parent.absolute() for job, *_ in done]
        root = os.path.commonpath([folder.parent for folder in folders]) if folders else ""
        for (job, size, changes, stayed), folder in zip(done, folders, strict=True):
            scene = folder.relative_to(root).as_posix()
            name = self._names.unique(f"{scene}-{job.before.stem}-{job.after.stem}")
            pair = ImportedPair(name, job.before, job.after, size, changes, scene, stayed=stayed)
            self._found.pairs.append(pair)

    def _changes(self, job: _Job, size: tuple[int, int]) -> tuple[list[Change], int] | None:
        """What moved, appeared and left, and how many stayed; None when that cannot be known."""
        if job.matches is not None:
            changes, stayed, problems = read_matches(job.matches, size, self._moved_iou)
            self._found.problems += problems
            self._found.places = Places.both
            return None if changes is None else (changes, stayed)
        assert job.annotations is not None
        missing = [path for path in job.annotations if not os.path.isfile(path)]
        if missing:
            message = f"{missing[0]}: no such file"
            self._found.problems.append(Problem(job.source, job.line, message))
            return None
        before, after = (self._sightings(path, size) for path in job.annotations)
        if before is None or after is None:
            return None
        try:
            frames = self._frame(job.before), self._frame(job.after)
        except OSError as error:
            self._found.problems.append(Problem(job.source, job.line, str(error)))
            return None
        return changes_between(before, after, frames, self._moved_iou, UNKNOWN)

    def _sightings(self, path: Path, size: tuple[int, int]) -> list[Sighting] | None:
        if (path, size) not in self._seen:
            self._seen[path, size], problems = read_annotation(path, size)
            self._found.problems += problems
        return self._seen[path, size]

    def _frame(self, path: Path) -> Frame:
        frame: Frame = read_image(path).permute(1, 2, 0).numpy()
        return frame


def _name_scenes(found: Imported) -> None:
    """Replace folders that name a VIRAT recording by its camera, or by the recording itself.

    Recordings of one camera show the same background, so that they should not be divided; of
    fewer than three cameras nothing could be divided, so there they are.
    """
    recordings = [_RECORDING.search(pair.name) for pair in found.pairs]
    cameras = {match.group(1) for match in recordings if match}
    for index, match in enumerate(recordings):
        if match:
            scene = f"VIRAT_S_{match.group(1)}" if len(cameras) >= 3 else f"VIRAT_{match.group()}"
            found.pairs[index] = replace(found.pairs[index], scene=scene)
