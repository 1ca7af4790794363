"""False alarms on pairs in which nothing moved."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from detr_diff.evaluation.bootstrap import LEVEL, Interval, Units
from detr_diff.evaluation.record import Floats, Ints, Record


class StillPairs(NamedTuple):
    """Of each image.

    Attributes:
        still: [N], 1 where nothing moved.
        alarmed: [N], 1 where nothing moved and something was predicted nevertheless.
        predictions: [N], number of predictions where nothing moved.
    """

    still: Ints
    alarmed: Ints
    predictions: Ints

    def rate(self, weights: Ints) -> Floats:
        """Share of the still pairs with a false alarm, [B, N] to [B]; nan without still pairs."""
        return _share(weights @ self.alarmed, weights @ self.still)

    def per_pair(self, weights: Ints) -> Floats:
        """Predictions in a still pair, [B, N] to [B]; nan without still pairs."""
        return _share(weights @ self.predictions, weights @ self.still)

    def exact_intervals(self, units: Units) -> dict[str, Interval]:
        """Intervals where all still pairs, or none, have a false alarm: there the bootstrap sees no doubt.

        Clopper and Pearson 1934 for the rate; Garwood 1936 for the number in a pair when it is 0. Both
        are of independent units: a camera that always alarms is one, however many pairs it has.
        """
        number = len(np.unique(units.of_image[self.still == 1]))
        never, always = not self.alarmed.any(), bool((self.alarmed == self.still).all())
        found: dict[str, Interval] = {}
        if number and (never or always):
            low, high = stats.binomtest(0 if never else number, number).proportion_ci(LEVEL)
            found["false_positive_rate"] = (float(low), float(high))
        if number and never:
            most = float(stats.chi2.ppf((1 + LEVEL) / 2, 2)) / 2
            found["false_positives_per_still_pair"] = (0.0, most / number)
        return found


def still_pairs(record: Record, threshold: float) -> StillPairs:
    """Look at the pairs without objects; predictions count from that score on."""
    number = len(record.images)
    still = (np.bincount(record.object_image, minlength=number) == 0).astype(np.int64)
    predictions = np.bincount(record.above(threshold).image, minlength=number) * still
    return StillPairs(still, np.minimum(predictions, 1), predictions)


def _share(part: Ints, whole: Ints) -> Floats:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
