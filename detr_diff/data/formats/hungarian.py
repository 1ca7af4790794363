"""Which object of one frame is which of the other, where nothing tracks them.

An assignment of least cost (Kuhn 1955, "The Hungarian method for the assignment problem") on
appearance, centroid distance, size and type. Pairs that cost too much stay unmatched: one object
left and another appeared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment

from detr_diff.data.formats.imported import Box, Change, clipped, iou

Frame = npt.NDArray[np.uint8]
"""RGB picture [H, W, 3]."""

LIMIT = 0.8  # dearer pairs are two objects
SAME_PLACE = 0.8  # IoU of the boxes of an object that stayed, as annotators draw them
UNTOUCHED = 10.0  # grey levels; a place that changed less on average holds what it held
BINS = 16  # of the colour histogram, for each channel
PATCH = 16  # pixels; crops are compared this small, so that a step or a turn matters little
FLAT = 25.0  # variance of sensor noise in grey levels; crops that vary less look alike


@dataclass(frozen=True)
class Sighting:
    """An object in one frame: index of its class, and box in pixels, that overlaps the frame."""

    label: int
    box: Box


def changes_between(
    before: Sequence[Sighting],
    after: Sequence[Sighting],
    frames: tuple[Frame, Frame],
    moved_iou: float,
    unknown: int | None = None,
) -> tuple[list[Change], int]:
    """What moved, appeared and left, and how many objects stayed.

    Args:
        before: Objects of the earlier frame.
        after: Objects of the later frame.
        frames: The two frames, of one size.
        moved_iou: An object moved when its old and new box overlap by at most this IoU.
        unknown: The class that may be any; a matched object has the class of its other sighting.
    """
    pairs = match(before, after, frames, unknown)
    changes = []
    for i, j in pairs:
        label = before[i].label if after[j].label == unknown else after[j].label
        if iou(before[i].box, after[j].box) <= moved_iou:
            changes.append(Change(label, before[i].box, after[j].box))
    stayed = len(pairs) - len(changes)
    old, new = {i for i, _ in pairs}, {j for _, j in pairs}
    changes += [Change(seen.label, seen.box, None) for i, seen in enumerate(before) if i not in old]
    changes += [Change(seen.label, None, seen.box) for j, seen in enumerate(after) if j not in new]
    return changes, stayed


def match(
    before: Sequence[Sighting],
    after: Sequence[Sighting],
    frames: tuple[Frame, Frame],
    unknown: int | None = None,
) -> list[tuple[int, int]]:
    """Match the objects of two frames of a fixed camera.

    An object stayed when its boxes are nearly the same and the pixels there are; that is settled
    first, so that no alike object that moved can take its place. The others are assigned at a
    cost whose terms are 0 for the same and about 1 for very different objects:

        colours + 0.5 picture + 0.5 distance / diagonal + 0.1 |log2 of the ratio of the areas|
        + 0.2 when the class of one is not known

    Args:
        before: Objects of the earlier frame.
        after: Objects of the later frame.
        frames: The two frames, of one size.
        unknown: The class that may be any; other classes must agree.

    Returns:
        Pairs of indices into `before` and `after`, each index once at most, ascending.
    """
    old_looks, new_looks = (
        [_Look(_crop(frame, seen.box)) for seen in objects]
        for frame, objects in zip(frames, (before, after), strict=True)
    )
    diagonal = float(np.hypot(*frames[0].shape[:2]))
    cost = np.full((len(before), len(after)), LIMIT)
    stayed = []
    for i, old in enumerate(before):
        for j, new in enumerate(after):
            overlap, alike = iou(old.box, new.box), old.label == new.label
            if overlap >= SAME_PLACE and _untouched(frames, old.box):
                stayed.append((alike, overlap, i, j))
            if alike or unknown in (old.label, new.label):
                dearness = old_looks[i].distance(new_looks[j]) + _displacement(old.box, new.box, diagonal)
                # Capped, leaving two objects alone costs as much as the dearest match of them.
                cost[i, j] = min(LIMIT, dearness + 0.2 * (not alike))
    pairs: dict[int, int] = {}
    for _, _, i, j in sorted(stayed, reverse=True):
        if i not in pairs and j not in pairs.values():
            pairs[i] = j
    rows = [i for i in range(len(before)) if i not in pairs]
    columns = [j for j in range(len(after)) if j not in pairs.values()]
    rest = cost[np.ix_(rows, columns)]
    for i, j in zip(*linear_sum_assignment(rest), strict=True):
        if rest[i, j] < LIMIT:
            pairs[rows[i]] = columns[j]
    return sorted(pairs.items())


class _Look:
    """What an object looks like, whatever its place and size: its colours and a small picture."""

    def __init__(self, crop: Frame) -> None:
        lab = cv2.cvtColor(crop, cv2.COLOR_RGB2LAB)
        # a* and b* of what cameras see fill the middle half of their range.
        lab[..., 1:] = np.clip(lab[..., 1:], 64, 191)
        counts = cv2.calcHist([lab], [0, 1, 2], None, [BINS] * 3, [0, 256, 64, 192, 64, 192])
        # Blurred, so that a little more light does not move all of it into other bins.
        colours = gaussian_filter(counts, 1.0, mode="nearest")
        self.colours = np.sqrt(colours / colours.sum())
        patch = cv2.resize(crop, (PATCH, PATCH), interpolation=cv2.INTER_AREA).astype(np.float32)
        self.patch = patch - patch.mean()

    def distance(self, other: "_Look") -> float:
        """Hellinger distance of the colours, and correlation of the pictures turned into a distance."""
        common = float((self.colours * other.colours).sum())
        product = float((self.patch * other.patch).mean()) + FLAT
        variances = (float((look.patch**2).mean()) + FLAT for look in (self, other))
        correlation = product / float(np.sqrt(np.prod(list(variances))))
        return float(np.sqrt(max(0.0, 1 - common))) + 0.5 * (1 - correlation) / 2


def _displacement(a: Box, b: Box, diagonal: float) -> float:
    """How far apart two boxes are and how different in size."""
    apart = np.hypot(a[0] + a[2] - b[0] - b[2], a[1] + a[3] - b[1] - b[3]) / 2
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return float(0.5 * apart / diagonal + 0.1 * abs(np.log2(areas[0] / areas[1])))


def _untouched(frames: tuple[Frame, Frame], box: Box) -> bool:
    """Whether the pixels of a place are the same in both frames but for noise and light."""
    difference = _crop(frames[1], box).astype(np.float32) - _crop(frames[0], box)
    light = difference.mean(axis=(0, 1))
    return bool(np.abs(difference - light).mean() < UNTOUCHED)


def _crop(frame: Frame, box: Box) -> Frame:
    """The pixels that a box touches."""
    x0, y0, x1, y1 = clipped(box, (frame.shape[1], frame.shape[0]))
    return frame[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))]
