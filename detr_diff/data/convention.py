"""Which places the labels name: only where an object is now, or every place that lights up."""

import logging
from collections.abc import Sequence

import numpy as np

from detr_diff.choices import Places, Registration
from detr_diff.data.change import change, unlabelled_change
from detr_diff.data.image import read_image
from detr_diff.data.labelled_pairs import LabelledPair
from detr_diff.data.registration import align

log = logging.getLogger(__name__)

SAMPLE = 48
TRIED = 4 * SAMPLE  # pairs without objects say nothing
LIMIT = 0.35


def unlabelled_share(pairs: Sequence[LabelledPair]) -> float:
    """Share of the changed pixels that lie outside every box, median over a sample of pairs.

    When only the AFTER box of a moved object is labelled, about half of what lights up in
    |after - before| is outside; see `unlabelled_change`. The frames are aligned first: where the camera
    shook every edge has changed.

    Returns:
        A share in [0, 1]; 0 when no pair of the sample has objects.
    """
    tried = np.unique(np.linspace(0, len(pairs) - 1, TRIED).astype(int)).tolist() if len(pairs) else []
    items = [pairs[index] for index in tried]
    labelled = [item for item in items if len(item.labels) and item.pair.before is not None]
    shares = []
    for item in labelled[:: -(-len(labelled) // SAMPLE) or 1]:
        assert item.pair.before is not None
        before, after = read_image(item.pair.before), read_image(item.pair.after)
        amount = change(align(before, after, Registration.phase)[0], after)
        share = unlabelled_change(amount, item.labels.boxes)
        if share is not None:
            shares.append(share)
    return float(np.median(shares)) if shares else 0.0


def warn_of_symmetric_diff(pairs: Sequence[LabelledPair], setting: str, places: Places | None) -> None:
    """Warn when the labels cannot be told apart in a symmetric diff.

    |after - before| is the same when the frames are swapped: where only the new place of an
    object is labelled, its old place looks exactly like it and is wrong.

    Args:
        pairs: The training pairs.
        setting: What makes the diff symmetric, as data.diff=abs.
        places: Which places the labels name, as dataset.yaml says. Where it says both, or nothing, the
            pictures are looked at.
    """
    advice = f"{setting} cannot tell before from after; label both places, or use one that can, as signed"
    if places in (Places.after, Places.before):
        log.warning("dataset.yaml says labels: %s, but %s", places, advice)
        return
    share = unlabelled_share(pairs)
    if share > LIMIT:
        log.warning(
            "%.0f %% of the changed pixels are outside every box%s: it seems that only the AFTER places are "
            "labelled, but %s",
            100 * share,
            f", although dataset.yaml says labels: {places}" if places else "",
            advice,
        )
