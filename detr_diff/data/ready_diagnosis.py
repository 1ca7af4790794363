"""Whether pictures without a before frame are the diff images that they are taken for."""

from collections.abc import Iterator

import cv2
import numpy as np
from torch import Tensor

from detr_diff.data.discovery import ROLE
from detr_diff.data.finding import Evidence, Finding, Level

# Grey levels between the quartiles. A diff is one grey level but for what moved: of |after - before| of
# PETS2009 and the demo at most 25, signed at most 7; of their frames at least 30. Bilevel frames have 0.
SPREAD = 28.0


def spread(picture: Tensor) -> float:
    """Grey levels between the quartiles of a picture uint8 [3, H, W]."""
    grey = cv2.cvtColor(np.ascontiguousarray(picture.permute(1, 2, 0).numpy()), cv2.COLOR_RGB2GRAY)
    low, high = np.quantile(grey, [0.25, 0.75])
    return float(high - low)


def diagnose_ready(evidence: Evidence) -> Iterator[Finding]:
    """A finding where there are pictures without a before frame."""
    names, number = evidence.ready_names, len(evidence.statistics)
    if not names:
        return
    pictures = [name for name, value in evidence.ready_spreads.items() if value > SPREAD]
    frames = [name for name in names if ROLE.search(name.rpartition("/")[2])]
    what = f"{len(names)} of {number} pairs are a single picture, which is taken as a ready diff image"
    if pictures:
        what += f"; of {len(evidence.ready_spreads)} that were looked at {len(pictures)} look like frames"
    if frames:
        what += f"; {len(frames)} are named like frames, as {frames[0]}"
    level = Level.note if len(names) == number else Level.suspicious
    if frames or len(pictures) > len(evidence.ready_spreads) / 2:
        level = Level.problem
    yield Finding(
        level,
        "ready diff images",
        what,
        "of single frames a model learns to find objects, not what moved",
        "nothing, if they are diffs; names of two frames end in _before and _after, or pairs.csv names both, "
        "and data import makes pairs of other layouts",
        dict.fromkeys(frames, "named like a frame") | dict.fromkeys(pictures, "looks like a frame"),
    )
