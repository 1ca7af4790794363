"""AP50 before any training: a pretrained detector's own, and with its head in ours by name and fresh.

    python experiments/class_head_by_name/measure.py CHECKPOINT DEMO SIX RESULT.csv

CHECKPOINT is of a training on the scenes of pretraining_data.py, SIX is its OUT/demo. No step is taken.
"""

import csv
import sys
from pathlib import Path

from detr_diff.compose import compose
from detr_diff.training.detector import Detector
from detr_diff.training.process import prepare_process
from detr_diff.training.run import build_trainer, evaluate, load_detector
from detr_diff.verbs.parts import data_module, new_detector, stage_plan

SPLIT = "all"  # none of these pairs was trained on
COLUMNS = ("head", "ap50", "ap", "ap50_person", "ap50_car", "ap50_bicycle", "from")


def row(head: str, words: list[str], folder: Path, own: Path | None = None) -> dict[str, str]:
    """The figures of a detector on the demo's pairs.

    Args:
        head: What is said of it.
        words: Settings of a training.
        folder: Where anything would be written.
        own: A checkpoint that is evaluated as it is; None: the model that a training would start from.
    """
    settings = compose("train", ["experiment=demo", *words])
    if own is None:
        detector, report = new_detector(settings, stage_plan(settings))
        source = "; ".join(f"{ours}: {theirs}" for ours, theirs in (report.classes or {}).items())
    else:
        detector, source = load_detector(own)[0], ""
    return {"head": head, **figures(detector, settings, folder), "from": source}


def figures(detector: Detector, settings: object, folder: Path) -> dict[str, str]:
    data = data_module(settings, detector)  # type: ignore[arg-type]
    data.setup()
    trainer = build_trainer({"accelerator": "cpu", "enable_progress_bar": False}, folder, detector)
    found = evaluate(trainer, detector.eval(), data, SPLIT)
    names = {"ap50": "map_50", "ap": "map"}
    names |= {f"ap50_{name}": f"map_50/{name}" for name in ("person", "car", "bicycle")}
    return {column: f"{found[f'test/{name}']:.3f}" for column, name in names.items()}


if __name__ == "__main__":
    prepare_process()
    checkpoint, demo, six, out = map(Path, sys.argv[1:])
    ours = [f"data.root={demo}", f"model.pretrained={checkpoint}"]
    rows = [
        row("the pretrained detector's own", [f"data.root={six}"], out.parent, checkpoint),
        row("by class name", ours, out.parent),
        row("fresh", [*ours, "model.transfer.class_head=fresh"], out.parent),
    ]
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
