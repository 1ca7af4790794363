"""What is wrong with a data set beyond its files, why it matters and what to do."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from detr_diff.data.finding import FEWEST, Evidence, Finding, Level, percent
from detr_diff.data.inspection import OWN
from detr_diff.data.label_diagnosis import diagnose_labels
from detr_diff.data.picture_diagnosis import diagnose_pictures
from detr_diff.data.ready_diagnosis import diagnose_ready
from detr_diff.data.split_diagnosis import diagnose_splits
from detr_diff.data.view import View


def diagnose(evidence: Evidence) -> list[Finding]:
    """All findings, the worst first."""
    found = [*diagnose_pictures(evidence), *_boxes(evidence)]
    # Where the pictures show nothing, or boxes have no size, no label fits, which says nothing new.
    if not any(finding.level is Level.problem for finding in found):
        # Where the frames show two views everything lights up, which says nothing of the labels.
        one = {name: seen for name, seen in evidence.inspected.items() if seen.view is View.same}
        found += diagnose_labels(replace(evidence, inspected=one))
    for rule in (diagnose_ready, diagnose_splits, _classes):
        found += rule(evidence)
    return sorted(found, key=lambda finding: list(Level).index(finding.level))


def _classes(evidence: Evidence) -> Iterator[Finding]:
    rows = evidence.statistics.by_split()
    names = evidence.statistics.names
    used = {name: sum(row["classes"][name] for row in rows) for name in names}
    unused = [name for name in names if not used[name]]
    if not any(used.values()):
        yield Finding(
            Level.problem,
            "no objects",
            f"there is no object in {len(evidence.statistics)} pairs",
            "there is nothing to learn",
            "see that data.labels is the right folder",
        )
    elif unused:
        first = not used[names[0]]
        yield Finding(
            Level.suspicious if first else Level.note,
            "class never used",
            f"no object is a {', '.join(unused)}",
            "class numbers count from 0; the first is unused when they were counted from 1"
            if first
            else "the model cannot learn it",
            "see that the class numbers in the label files are those of names in dataset.yaml",
        )
    train = next((row["classes"] for row in rows if row["split"] == "train"), None)
    if train is not None:
        new = [name for name in names if used[name] and not train[name]]
        if new:
            yield Finding(
                Level.suspicious,
                "class not in training",
                f"no object of train is a {', '.join(new)}, but other splits have some",
                "the model cannot learn it and is scored on it",
                "another data.split_by or seed",
            )


def _boxes(evidence: Evidence) -> Iterator[Finding]:
    statistics = evidence.statistics
    if len(statistics.boxes) < FEWEST:
        return
    sides = np.sqrt(statistics.box_sides.prod(axis=1))
    median = float(np.median(sides))
    if median < 6:
        yield Finding(
            Level.problem if median < 2 else Level.suspicious,
            "tiny boxes",
            f"half of the boxes are smaller than {median:.1f} px",
            "DETR hardly finds objects of a few pixels",
            "see that boxes are divided by the image size once, not twice; else use larger frames or crops",
        )
    large = float((statistics.boxes[:, 2:] > 0.9).all(axis=1).mean())
    if large > 0.5:
        yield Finding(
            Level.suspicious,
            "huge boxes",
            f"{percent(large)} of the boxes cover nearly all of the frame",
            "there is no place to learn",
            "see that w and h are divided by width and height of the image",
        )
    low, high = (statistics.boxes[:, :2] + sign * statistics.boxes[:, 2:] / 2 for sign in (-1, 1))
    beyond = float(((low < -0.02) | (high > 1.02)).any(axis=1).mean())
    if beyond > 0.05:
        yield Finding(
            Level.suspicious,
            "boxes beyond the frame",
            f"{percent(beyond)} of the boxes reach beyond the frame",
            "a box that is cut by the frame should end there",
            f"see that the label files have {OWN}, the centre first; cut boxes at the border",
        )
