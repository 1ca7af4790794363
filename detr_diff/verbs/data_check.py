"""`detr-diff data check`: the integrity report."""

from collections import Counter
from pathlib import Path

from omegaconf import DictConfig
from rich.table import Table

from detr_diff.choices import SplitBy
from detr_diff.data.check import check
from detr_diff.data.frame_pair import discover, read_description
from detr_diff.data.split import split_pairs
from detr_diff.errors import SettingError
from detr_diff.text import render


def run(settings: DictConfig) -> int:
    """List every problem, then count objects by class and split; 1 when there are problems."""
    data = settings.data
    root = Path(data.root).expanduser()
    names = list(data.names or read_description(root).names)
    if root.is_dir() and not names:
        raise SettingError(f"no class names: {root} has no dataset.yaml; give data.names=[person,car]")
    found = discover(root, pairs=data.pairs, labels=data.labels, scene=data.scene)
    report = check(found, names, max_objects=settings.max_objects)
    for problem in report.problems:
        print(problem)
    if report.pairs:
        seed = 0
        splits = split_pairs(
            [item.pair for item in report.pairs], SplitBy(data.split_by), data.val, data.test, seed
        )
        used = [split for split in ("train", "val", "test", None) if split in splits]
        table = Table("", *(split or "left out" for split in used), title=str(root))
        counts: dict[str | None, Counter[str]] = {split: Counter() for split in used}
        for item, split in zip(report.pairs, splits, strict=True):
            counts[split]["pairs"] += 1
            counts[split]["pairs in which nothing moved"] += not len(item.labels)
            counts[split].update(names[label] for label in item.labels.class_labels)
        for row in ("pairs", "pairs in which nothing moved", *names):
            table.add_row(row, *(str(counts[split][row]) for split in used))
        print(render(table))
    print(f"{len(report.pairs)} usable pairs, {report.left_out} spoilt, {len(report.problems)} problems")
    return 1 if report.problems else 0
