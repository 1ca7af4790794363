"""Which places the labels name: only where an object is now, or every place that lights up."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import max_pool2d

from detr_diff.data.check import LabelledPair
from detr_diff.data.diff import abs_diff
from detr_diff.data.image import read_image

SAMPLE = 48
LIMIT = 0.35


def unlabelled_share(pairs: Sequence[LabelledPair]) -> float:
    """Share of the changed pixels that lie outside every box, median over a sample of pairs.

    A pixel counts as changed when its difference is at least half of the median of the
    strongest differences inside the boxes. When only the AFTER box of a moved object is
    labelled, about half of what lights up in |after - before| is outside.

    Returns:
        A share in [0, 1]; 0 when no pair has objects.
    """
    labelled = [pair for pair in pairs if len(pair.labels) and pair.pair.before is not None]
    shares = []
    for item in labelled[:: max(1, len(labelled) // SAMPLE)]:
        assert item.pair.before is not None
        change = abs_diff(read_image(item.pair.before), read_image(item.pair.after)).amax(0)
        # The least of 3x3 neighbours: edges that light up because a camera shook do not count.
        change = -max_pool2d(-change[None].float(), 3, stride=1, padding=1)[0]
        inside = torch.zeros_like(change, dtype=torch.bool)
        peaks = []
        for cx, cy, w, h in item.labels.boxes.tolist():
            rows = slice(
                max(0, int((cy - h / 2) * item.height)), int(np.ceil((cy + h / 2) * item.height)) + 1
            )
            columns = slice(
                max(0, int((cx - w / 2) * item.width)), int(np.ceil((cx + w / 2) * item.width)) + 1
            )
            inside[rows, columns] = True
            region = change[rows, columns].numpy()
            peaks.append(float(np.quantile(region, 0.9)) if region.size else 0.0)
        changed = change >= max(16.0, 0.5 * float(np.median(peaks)))
        if changed.any():
            shares.append(float((changed & ~inside).sum() / changed.sum()))
    return float(np.median(shares)) if shares else 0.0
