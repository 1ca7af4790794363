"""What is wrong with a data set beyond its files, why it matters and what to do."""

from collections.abc import Iterator

import numpy as np

from detr_diff.choices import SplitBy
from detr_diff.data.finding import FEWEST, Evidence, Finding, Level, percent, some
from detr_diff.data.inspection import OWN
from detr_diff.data.label_diagnosis import diagnose_labels


def diagnose(evidence: Evidence) -> list[Finding]:
    """All findings, the worst first."""
    rules = (diagnose_labels, _camera, _light, _repeated, _scenes, _classes, _boxes, _splits)
    found = [finding for rule in rules for finding in rule(evidence)]
    return sorted(found, key=lambda finding: list(Level).index(finding.level))


def _camera(evidence: Evidence) -> Iterator[Finding]:
    moved = {name: seen.moved for name, seen in evidence.inspected.items()}
    turned = [abs(seen.rotation) for seen in evidence.inspected.values()]
    if not moved:
        return
    median, largest = float(np.median(list(moved.values()))), max(moved.values())
    shaken = sum(value > 1.0 for value in moved.values())
    if median <= 0.5 and shaken <= 0.05 * len(moved):
        return
    order = sorted((name for name in moved if moved[name] > 0.5), key=lambda name: -moved[name])
    yield Finding(
        Level.suspicious if shaken > 0.25 * len(moved) else Level.note,
        "camera shake",
        f"the camera moved by {median:.1f} px in the median and {largest:.1f} px at most, turned by at most "
        f"{max(turned):.2f} degrees; by more than one pixel in {shaken} of {len(moved)} pairs",
        "every edge of the scene lights up in the diff",
        "data.registration=ecc aligns the frames; data.diff=tolerant is enough for one pixel",
        {name: f"the camera moved by {moved[name]:.1f} px" for name in order},
    )


def _light(evidence: Evidence) -> Iterator[Finding]:
    light = {name: seen.light for name, seen in evidence.inspected.items()}
    median = float(np.median(list(light.values()))) if light else 0.0
    bright = sum(value > 10 for value in light.values())
    if median <= 4 and bright <= 0.05 * len(light):
        return
    gains = np.quantile([seen.gain for seen in evidence.inspected.values()], [0.05, 0.95])
    biases = np.quantile([seen.bias for seen in evidence.inspected.values()], [0.05, 0.95])
    order = sorted((name for name in light if light[name] > 4), key=lambda name: -light[name])
    yield Finding(
        Level.suspicious if bright > 0.25 * len(light) else Level.note,
        "brightness shift",
        f"the light differs by {median:.1f} grey levels in the median and {max(light.values()):.1f} at most "
        f"(gain {gains[0]:.2f} to {gains[1]:.2f}, bias {biases[0]:.0f} to {biases[1]:.0f} in most pairs)",
        "all of the picture lights up in the diff, weak objects drown",
        "data.light_compensation=true",
        {name: f"the light differs by {light[name]:.0f} grey levels" for name in order},
    )


def _repeated(evidence: Evidence) -> Iterator[Finding]:
    number, examples = evidence.shared
    why = "the model is scored on what it has learnt by heart"
    remedy = "data.split_by=scene with data.scene, or data.split_by=time"
    if number:
        pairs = {r.pair: f"{r.split} has {r.path.name}, as {r.other_split} has" for r in examples}
        what = f"{some(number, 'frame file is', 'frame files are')} used in two splits"
        yield Finding(Level.problem, "frame in two splits", what, why, remedy, pairs)
    if evidence.repeated:
        pairs = {
            r.pair: f"{r.path.name} of {r.split} is {r.other_path.name} of {r.other_split}"
            for r in evidence.repeated
        }
        what = (
            f"{some(len(evidence.repeated), 'picture is', 'pictures are')} in two splits, in different files"
        )
        remedy = f"keep one of them; {remedy}"
        yield Finding(Level.problem, "picture in two splits", what, why, remedy, pairs)


def _scenes(evidence: Evidence) -> Iterator[Finding]:
    statistics = evidence.statistics
    learnt = np.array([split is not None for split in statistics.splits])[statistics.split]
    known = learnt & (statistics.scene >= 0)
    both = np.unique(np.stack([statistics.scene[known], statistics.split[known]]), axis=1)[0]
    crossing, scenes = int((np.bincount(both) > 1).sum()), len(np.unique(both))
    unknown = not scenes and evidence.one_camera and len(statistics.splits) > 1
    if not crossing and not unknown:
        return
    # auto chooses between scene, which keeps scenes together, and pair.
    by_pair = evidence.split_by in (SplitBy.pair, SplitBy.auto)
    level = Level.problem if scenes >= 3 else Level.suspicious
    what = f"{crossing} of {scenes} scenes have pairs in two splits"
    yield Finding(
        level if by_pair else Level.note,
        "scene in two splits",
        what if crossing else "all frames look like one camera's",
        "neighbours in time are nearly the same picture: figures come out too good"
        if by_pair
        else "the figures are those of cameras that the model knows",
        ("data.split_by=scene" if scenes >= 3 else "data.split_by=time")
        if by_pair
        else "data.split_by=scene tells how it does on a new camera"
        if scenes >= 3
        else "nothing, when the model is for this camera",
    )


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


def _splits(evidence: Evidence) -> Iterator[Finding]:
    statistics = evidence.statistics
    if "train" not in statistics.splits:
        yield Finding(
            Level.problem,
            "no training pairs",
            f"none of {len(statistics)} pairs is in train",
            "there is nothing to learn from",
            "see data.split_by, data.val and data.test",
        )
    seen = len(evidence.inspected)
    if seen < len(statistics):
        yield Finding(
            Level.note,
            "not all pairs looked at",
            f"{seen} of {len(statistics)} pairs were looked at, picture by picture",
            "figures are a sample; copies of a picture among the others are not found; a ready diff image "
            "has no two frames to compare",
            "inspect=null looks at all",
        )
