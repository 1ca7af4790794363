"""`detr-diff data check`: what is wrong with a data set, statistics and pictures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from rich.table import Table

from detr_diff.choices import Diff, SplitBy
from detr_diff.data.change import corners
from detr_diff.data.description import class_names
from detr_diff.data.diff import diff_image
from detr_diff.data.examination import DataExamination, Division, examine
from detr_diff.data.finding import Finding, Level
from detr_diff.data.image import read_image
from detr_diff.data.inspection import OWN, Inspection
from detr_diff.data.label_places import without_box
from detr_diff.data.labelled_pairs import LabelledPairs
from detr_diff.data.new_folder import numbered_folder
from detr_diff.data.split import subset
from detr_diff.data.statistics import Statistics
from detr_diff.evaluation.contact_sheet import Shown, contact_sheet
from detr_diff.evaluation.overlays import write
from detr_diff.text import render


def run(settings: DictConfig) -> int:
    """Print statistics and findings, write check.json and contact_sheet.png; 1 when there are problems."""
    data = settings.data
    root = Path(data.root).expanduser()
    names = class_names(root, data.names)
    diff = Diff(data.diff)
    division = Division(
        root,
        data.pairs,
        data.labels,
        data.scene,
        SplitBy(data.split_by),
        data.val,
        data.test,
        data.split_seed,
    )
    with numbered_folder(settings.out, Path("checks"), root.resolve().name) as (out, folder):
        seen = examine(
            division,
            names,
            diff,
            most=settings.inspect,
            seed=settings.seed,
            max_objects=settings.max_objects,
        )
        report, inspected, findings, problems = seen.report, seen.inspected, seen.findings, seen.problems
        for problem in problems:
            print(problem)
        if report.pairs:
            print(render(by_split(seen.statistics, str(root))))
            print(render(by_class(seen.statistics)))
        for finding in findings:
            print(f"{finding.level}: {finding.name}: {finding.what}")
            print(f"    why: {finding.why}")
            print(f"    remedy: {finding.remedy}")
        _write_json(folder / "check.json", str(root), seen)
        if inspected and settings.shown:
            shown = sections(report.pairs, inspected, findings, settings.shown, settings.seed, diff)
            write(folder / "contact_sheet.png", contact_sheet(str(root), shown))
    print(f"\nwritten: {', '.join(str(path) for path in sorted(out.iterdir()))}")
    number = len(problems) + sum(finding.level is Level.problem for finding in findings)
    print(f"{len(report.pairs)} usable pairs, {report.left_out} spoilt, {number} problems")
    return 1 if number else 0


def by_split(statistics: Statistics, title: str) -> Table:
    """Pairs and objects of each split."""
    rows = statistics.by_split()
    table = Table("", *(str(row["split"] or "left out") for row in rows), title=title)
    table.add_row("pairs", *(str(row["pairs"]) for row in rows))
    table.add_row("pairs in which nothing moved", *(str(row["pairs_without_objects"]) for row in rows))
    table.add_row("scenes", *(str(row["scenes"]) for row in rows))
    for name in statistics.names:
        table.add_row(name, *(str(row["classes"][name]) for row in rows))
    return table


def by_class(statistics: Statistics) -> Table:
    """Sizes and places of the objects of each class."""
    columns = ("class", "split", "objects", "width px", "height px", "x of centre %", "y of centre %")
    table = Table(*columns, title="boxes: median (5 % to 95 %)")
    for row in statistics.by_class():
        cells = []
        for key in ("width", "height", "x", "y"):
            low, middle, high = (value * (100 if key in "xy" else 1) for value in row[key])
            cells.append(f"{middle:.0f} ({low:.0f} to {high:.0f})")
        table.add_row(row["class"], row["split"] or "left out", str(row["objects"]), *cells)
    return table


def _write_json(path: Path, root: str, seen: DataExamination) -> None:
    pairs: list[dict[str, Any]] = []
    for index, inspection in seen.inspected.items():
        lists = {key: getattr(inspection, key).tolist() for key in ("still", "in_after", "blobs")}
        pairs.append({"pair": seen.report.pairs[index].pair.name, **asdict(inspection), **lists})
    content = {
        "root": root,
        "usable_pairs": len(seen.report.pairs),
        "spoilt_pairs": seen.report.left_out,
        "problems": [
            {"path": str(p.path), "line": p.line, "message": p.message, "pair": p.pair} for p in seen.problems
        ],
        "splits": seen.statistics.by_split(),
        "classes": seen.statistics.by_class(),
        "findings": [asdict(finding) for finding in seen.findings],
        "inspected": pairs,
    }
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def sections(
    pairs: LabelledPairs,
    inspected: Mapping[int, Inspection],
    findings: Sequence[Finding],
    shown: int,
    seed: int,
    diff: Diff,
) -> dict[str, list[Shown]]:
    """Random, worst and suspicious pairs for the contact sheet, by the heading above them."""
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
