"""All that can be told of a data set before training: its check, statistics and findings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from detr_diff.choices import Diff, SplitBy
from detr_diff.data.ahead import ahead, threads
from detr_diff.data.change import Boxes
from detr_diff.data.check import CheckReport, check
from detr_diff.data.description import read_description
from detr_diff.data.diagnosis import diagnose
from detr_diff.data.discovery import discover
from detr_diff.data.duplicates import Pictures, shared_files
from detr_diff.data.finding import Evidence, Finding
from detr_diff.data.frame_pair import FramePair
from detr_diff.data.image import read_image
from detr_diff.data.inspection import Inspection, inspect
from detr_diff.data.labelled_pairs import LabelledPair, LabelledPairs
from detr_diff.data.problem import Problem
from detr_diff.data.progress import progress
from detr_diff.data.ready_diagnosis import spread
from detr_diff.data.split import split_usable, subset
from detr_diff.data.statistics import Statistics, count
from detr_diff.errors import SettingError


@dataclass(frozen=True)
class Division:
    """Which frame pairs, and how they are divided; see conf/data/default.yaml."""

    root: Path
    pairs: str | None = None
    labels: str | None = None
    scene: str | None = None
    split_by: SplitBy = SplitBy.auto
    val: float = 0.2
    test: float = 0.0
    split_seed: int = 0


@dataclass(frozen=True)
class DataExamination:
    """What was seen of a data set.

    Attributes:
        report: The usable pairs and the problems of the others.
        found: Number of pairs, the spoilt ones too.
        unreadable: Frames that cannot be decoded.
        statistics: Of the usable pairs.
        inspected: Position in the usable pairs, of those that were looked at, and what was seen.
        findings: The worst first; none where no pair is usable.
    """

    report: CheckReport
    found: int
    unreadable: Sequence[Problem]
    statistics: Statistics
    inspected: Mapping[int, Inspection]
    findings: Sequence[Finding]

    @property
    def problems(self) -> list[Problem]:
        """Of all files."""
        return [*self.report.problems, *self.unreadable]


def examine(
    division: Division,
    names: Sequence[str],
    diff: Diff,
    *,
    most: int | None,
    seed: int = 0,
    max_objects: int | None = None,
    aligned: bool = False,
    light_compensated: bool = False,
) -> DataExamination:
    """Check a data set, look at its pictures, and say what is wrong with it.

    Args:
        division: Which frame pairs, and how they are divided.
        names: Class names.
        diff: The diff that shall be learnt.
        most: So many pairs are looked at, picture by picture; None: all.
        seed: Of which those are.
        max_objects: Number of object queries.
        aligned: Whether training aligns the frames.
        light_compensated: Whether training takes a change of light out.

    Raises:
        SettingError: There is no such data, or it cannot be divided like that.
    """
    root = division.root
    found = discover(root, pairs=division.pairs, labels=division.labels, scene=division.scene)
    report = check(found, names, max_objects=max_objects, needs_frames=diff.needs_frames)
    frame_pairs = report.pairs.frame_pairs()
    try:
        splits = split_usable(
            report.pairs, division.split_by, division.val, division.test, division.split_seed
        )
    except SettingError as error:
        if not report.problems:
            raise
        # It may be why, as a mistyped split is.
        raise SettingError(f"{error}; of {len(report.problems)} problems: {report.problems[0]}") from error
    statistics = count(progress(report.pairs, "counting objects", len(splits)), splits, names)
    inspected, spreads, pictures, unreadable = _look(report.pairs, splits, most, seed)
    findings: list[Finding] = []
    if report.pairs:
        evidence = Evidence(
            statistics=statistics,
            inspected={report.pairs[index].pair.name: seen for index, seen in inspected.items()},
            ready_names=[pair.name for pair in frame_pairs if pair.before is None],
            ready_spreads={report.pairs[index].pair.name: value for index, value in spreads.items()},
            repeated=pictures.repeated(),
            shared=shared_files(frame_pairs, splits),
            one_camera=pictures.one_camera(),
            split_by=_chosen(division.split_by, frame_pairs, splits),
            # Another label folder may name other places than dataset.yaml says.
            places=None if division.labels else read_description(root).places,
            diff=diff,
            aligned=aligned,
            light_compensated=light_compensated,
        )
        findings = diagnose(evidence)
    return DataExamination(report, len(found.pairs), unreadable, statistics, inspected, findings)


def _chosen(split_by: SplitBy, pairs: Sequence[FramePair], splits: Sequence[str | None]) -> SplitBy:
    """Column instead of auto where the splits are those that the data names."""
    named = all(pair.split == split for pair, split in zip(pairs, splits, strict=True))
    return SplitBy.column if split_by is SplitBy.auto and named else split_by


def _look(
    pairs: LabelledPairs, splits: Sequence[str | None], most: int | None, seed: int
) -> tuple[dict[int, Inspection], dict[int, float], Pictures, list[Problem]]:
    """Look at a spread of the pairs, picture by picture.

    Returns:
        Position in `pairs` and what was seen of two frames; likewise of a single picture; all frames; frames
        that cannot be decoded.
    """
    chosen: Sequence[int] = range(len(pairs))
    if most is not None and most < len(pairs):
        chosen = subset([item.pair.name for item in pairs], most, seed)
    inspected, spreads, pictures, problems = {}, {}, Pictures(), []
    # Where labels are one off, those of a neighbour fit, in the order of the pairs or of the files.
    by_file = np.array(sorted(range(len(pairs)), key=lambda index: str(pairs[index].pair.label)), np.int64)
    rank = np.argsort(by_file)

    def others(index: int) -> dict[str, Boxes]:
        boxes = {}
        for step, word in ((-1, "previous"), (1, "next")):
            if 0 <= index + step < len(pairs):
                boxes[f"{word} pair"] = pairs.labels(index + step).boxes
            if 0 <= rank[index] + step < len(pairs):
                boxes[f"{word} label file"] = pairs.labels(int(by_file[rank[index] + step])).boxes
        return boxes

    with threads() as pool:
        shown = progress(chosen, "looking at the pairs", len(chosen))
        for index, future in ahead(shown, lambda index: pool.submit(_seen, pairs[index], others(index))):
            frames, seen, unreadable = future.result()
            for path, frame in frames.items():
                pictures.add(pairs[index].pair.name, path, splits[index], frame)
            if isinstance(seen, Inspection):
                inspected[index] = seen
            elif seen is not None:
                spreads[index] = seen
            problems += unreadable
    return inspected, spreads, pictures, problems


def _seen(
    item: LabelledPair, others: Mapping[str, Boxes]
) -> tuple[dict[Path, Tensor], Inspection | float | None, list[Problem]]:
    """The frames that can be decoded, what they reveal, and what is wrong with the others."""
    frames: dict[Path, Tensor] = {}
    problems = []
    for path in item.pair.frames:
        try:
            frames[path] = read_image(path)
        except OSError as error:
            problems.append(Problem(path, 0, str(error).removeprefix(f"{path}: "), item.pair.name))
    seen: Inspection | float | None = None
    if item.pair.before is None and frames:
        seen = spread(frames[item.pair.after])
    elif item.pair.before in frames and item.pair.after in frames:
        seen = inspect(frames[item.pair.before], frames[item.pair.after], item.labels, others)
    return frames, seen, problems
