"""`detr-diff data check`: what is wrong with a data set, statistics and pictures."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import count as numbers
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from rich.markup import escape
from rich.table import Table

from detr_diff.choices import Diff, SplitBy
from detr_diff.data.change import corners
from detr_diff.data.check import CheckReport, check
from detr_diff.data.description import read_description
from detr_diff.data.diagnosis import diagnose
from detr_diff.data.diff import diff_image
from detr_diff.data.discovery import discover
from detr_diff.data.duplicates import Pictures, shared_files
from detr_diff.data.finding import Evidence, Finding, Level
from detr_diff.data.frame_pair import FramePair
from detr_diff.data.image import read_image
from detr_diff.data.inspection import OWN, Inspection, inspect
from detr_diff.data.label_places import without_box
from detr_diff.data.labelled_pairs import LabelledPairs
from detr_diff.data.new_folder import new_folder
from detr_diff.data.problem import Problem
from detr_diff.data.progress import progress
from detr_diff.data.split import split_pairs, subset
from detr_diff.data.statistics import Statistics, count
from detr_diff.errors import SettingError
from detr_diff.evaluation.contact_sheet import Shown, contact_sheet
from detr_diff.evaluation.overlays import write
from detr_diff.text import render


def run(settings: DictConfig) -> int:
    """Print statistics and findings, write check.json and contact_sheet.png; 1 when there are problems."""
    data = settings.data
    root = Path(data.root).expanduser()
    for name, least in (("inspect", 1), ("shown", 0)):
        if settings[name] is not None and settings[name] < least:
            raise SettingError(f"{name}={settings[name]}: at least {least}")
    description = read_description(root)
    names = list(data.names or description.names)
    if root.is_dir() and not names:
        raise SettingError(f"no class names: {root} has no dataset.yaml; give data.names=[person,car]")
    diff, split_by = Diff(data.diff), SplitBy(data.split_by)
    with _folder(settings.out, root.resolve().name) as (out, folder):
        found = discover(root, pairs=data.pairs, labels=data.labels, scene=data.scene)
        report = check(found, names, max_objects=settings.max_objects, needs_frames=diff.needs_frames)
        for problem in report.problems:
            print(problem)
        frame_pairs = report.pairs.frame_pairs()
        splits = split_pairs(frame_pairs, split_by, data.val, data.test, settings.seed)
        statistics = count(progress(report.pairs, "counting objects", len(splits)), splits, names)
        inspected, pictures, unreadable = _look(report.pairs, splits, settings.inspect, settings.seed)
        for problem in unreadable:
            print(problem)
        findings: list[Finding] = []
        if report.pairs:
            evidence = Evidence(
                statistics=statistics,
                inspected={report.pairs[index].pair.name: seen for index, seen in inspected.items()},
                repeated=pictures.repeated(),
                shared=shared_files(frame_pairs, splits),
                one_camera=pictures.one_camera(),
                split_by=_chosen(split_by, frame_pairs, splits),
                places=description.places,
                diff=diff,
            )
            findings = diagnose(evidence)
            print(render(_by_split(statistics, str(root))))
            print(render(_by_class(statistics)))
        for finding in findings:
            print(f"{finding.level}: {finding.name}: {finding.what}")
            print(f"    why: {finding.why}")
            print(f"    remedy: {finding.remedy}")
        problems = [*report.problems, *unreadable]
        _write_json(folder / "check.json", str(root), report, problems, statistics, findings, inspected)
        if inspected and settings.shown:
            sections = _sections(report.pairs, inspected, findings, settings.shown, settings.seed, diff)
            write(folder / "contact_sheet.png", contact_sheet(str(root), sections))
    print(f"\nwritten: {', '.join(str(path) for path in sorted(out.iterdir()))}")
    number = len(problems) + sum(finding.level is Level.problem for finding in findings)
    print(f"{len(report.pairs)} usable pairs, {report.left_out} spoilt, {number} problems")
    return 1 if number else 0


@contextmanager
def _folder(out: str | None, name: str) -> Iterator[tuple[Path, Path]]:
    """The result folder, and where its files are written until all are there."""
    if out is not None:
        with new_folder(Path(out).expanduser()) as folder:
            yield Path(out).expanduser(), folder
        return
    for number in numbers(1):
        path = Path("checks", f"{name}-{number}")
        # Made at once, so that no other check takes the number.
        with suppress(FileExistsError):
            path.mkdir(parents=True)
            break
    try:
        with new_folder(path) as folder:
            yield path, folder
    except BaseException:
        path.rmdir()
        raise


def _chosen(split_by: SplitBy, pairs: Sequence[FramePair], splits: Sequence[str | None]) -> SplitBy:
    """Column instead of auto where the splits are those that the data names."""
    named = all(pair.split == split for pair, split in zip(pairs, splits, strict=True))
    return SplitBy.column if split_by is SplitBy.auto and named else split_by


def _look(
    pairs: LabelledPairs, splits: Sequence[str | None], most: int | None, seed: int
) -> tuple[dict[int, Inspection], Pictures, list[Problem]]:
    """Look at a spread of the pairs, picture by picture.

    Returns:
        Position in `pairs` and what was seen; all frames; frames that cannot be decoded.
    """
    chosen: Sequence[int] = range(len(pairs))
    if most is not None and most < len(pairs):
        chosen = subset([item.pair.name for item in pairs], most, seed)
    inspected, pictures, problems = {}, Pictures(), []
    # Where labels are one off, those of a neighbour fit, in the order of the pairs or of the files.
    by_file = np.array(sorted(range(len(pairs)), key=lambda index: str(pairs[index].pair.label)), np.int64)
    rank = np.argsort(by_file)
    for index in progress(chosen, "looking at the pairs", len(chosen)):
        pair, labels = pairs[index].pair, pairs[index].labels
        frames = []
        for path in (pair.before, pair.after):
            if path is not None:
                try:
                    frames.append(read_image(path))
                except OSError as error:
                    problems.append(Problem(path, 0, str(error).removeprefix(f"{path}: "), pair.name))
                    continue
                pictures.add(pair.name, path, splits[index], frames[-1])
        if len(frames) == 2:
            others = {}
            for step, word in ((-1, "previous"), (1, "next")):
                if 0 <= index + step < len(pairs):
                    others[f"{word} pair"] = pairs[index + step].labels.boxes
                if 0 <= rank[index] + step < len(pairs):
                    others[f"{word} label file"] = pairs[int(by_file[rank[index] + step])].labels.boxes
            inspected[index] = inspect(frames[0], frames[1], labels, others)
    return inspected, pictures, problems


def _by_split(statistics: Statistics, title: str) -> Table:
    rows = statistics.by_split()
    table = Table("", *(str(row["split"] or "left out") for row in rows), title=escape(title))
    table.add_row("pairs", *(str(row["pairs"]) for row in rows))
    table.add_row("pairs in which nothing moved", *(str(row["pairs_without_objects"]) for row in rows))
    table.add_row("scenes", *(str(row["scenes"]) for row in rows))
    for name in statistics.names:
        table.add_row(escape(name), *(str(row["classes"][name]) for row in rows))
    return table


def _by_class(statistics: Statistics) -> Table:
    columns = ("class", "split", "objects", "width px", "height px", "x of centre %", "y of centre %")
    table = Table(*columns, title="boxes: median (5 % to 95 %)")
    for row in statistics.by_class():
        cells = []
        for key in ("width", "height", "x", "y"):
            low, middle, high = (value * (100 if key in "xy" else 1) for value in row[key])
            cells.append(f"{middle:.0f} ({low:.0f} to {high:.0f})")
        table.add_row(escape(row["class"]), row["split"] or "left out", str(row["objects"]), *cells)
    return table


def _write_json(
    path: Path,
    root: str,
    report: CheckReport,
    problems: Sequence[Problem],
    statistics: Statistics,
    findings: Sequence[Finding],
    inspected: Mapping[int, Inspection],
) -> None:
    pairs: list[dict[str, Any]] = []
    for index, seen in inspected.items():
        figures = asdict(seen) | {"still": seen.still.tolist(), "in_after": seen.in_after.tolist()}
        pairs.append({"pair": report.pairs[index].pair.name, **figures, "blobs": seen.blobs.tolist()})
    content = {
        "root": root,
        "usable_pairs": len(report.pairs),
        "spoilt_pairs": report.left_out,
        "problems": [
            {"path": str(p.path), "line": p.line, "message": p.message, "pair": p.pair} for p in problems
        ],
        "splits": statistics.by_split(),
        "classes": statistics.by_class(),
        "findings": [asdict(finding) for finding in findings],
        "inspected": pairs,
    }
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _sections(
    pairs: LabelledPairs,
    inspected: Mapping[int, Inspection],
    findings: Sequence[Finding],
    shown: int,
    seed: int,
    diff: Diff,
) -> dict[str, list[Shown]]:
    """Random, worst and suspicious pairs for the contact sheet."""
    names = {pairs[index].pair.name: index for index in inspected}
    blobs = without_box({name: inspected[index] for name, index in names.items()})
    fits = {name: inspected[index].fits.get(OWN) for name, index in names.items()}
    worst = sorted((fit, name) for name, fit in fits.items() if fit is not None)[:shown]
    chosen = {
        "suspicious pairs": _suspicious(findings, names, shown),
        "worst pairs": {name: f"fit of its boxes to the change: {fit:.2f}" for fit, name in worst},
        "random pairs": dict.fromkeys((list(names)[i] for i in subset(list(names), shown, seed)), ""),
    }

    def show(name: str, reason: str) -> Shown:
        item, seen = pairs[names[name]], inspected[names[name]]
        assert item.pair.before is not None
        before, after = read_image(item.pair.before), read_image(item.pair.after)
        return Shown(
            name,
            reason or f"{len(item.labels)} boxes",
            (before, after, diff_image(before, after, diff)[-3:]),
            corners(item.labels.boxes, item.height, item.width).astype(np.float64),
            seen.still,
            blobs[name][:, :4],
        )

    return {
        title: [show(name, reason) for name, reason in part.items()] for title, part in chosen.items() if part
    }


def _suspicious(findings: Sequence[Finding], names: Mapping[str, int], most: int) -> dict[str, str]:
    """The worst pairs of each finding in turn, with the reason."""
    queues = [[item for item in finding.pairs.items() if item[0] in names] for finding in findings]
    chosen: dict[str, str] = {}
    while len(chosen) < most and any(queues):
        for queue in queues:
            while queue and queue[0][0] in chosen:
                queue.pop(0)
            if queue and len(chosen) < most:
                name, reason = queue.pop(0)
                chosen[name] = reason
    return chosen
