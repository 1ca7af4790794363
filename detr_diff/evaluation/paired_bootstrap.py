"""Whether one model is better than another: the paired bootstrap.

Both models are evaluated on the same resamples (Koehn 2004, "Statistical significance tests for machine
translation evaluation"), so what makes a scene hard for both does not blur their difference.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from detr_diff.evaluation.bootstrap import Interval, interval, of_few
from detr_diff.evaluation.record import Floats

EQUAL = 1e-12  # what rounding makes of equal figures


class Difference(NamedTuple):
    """How much higher a figure is than another one; nan where a figure is undefined.

    Attributes:
        value: The difference on all images.
        interval: 95 % interval.
        p: Two-sided: how often the resamples lie on the other side of 0, or on it, doubled; of few units
            it is larger, as their interval is wider. It is below 0.05 where the interval leaves out 0.
        effect: The difference in standard deviations of that of a single scene, or pair. For a mean
            it is Cohen's d of paired samples (Cohen 1988: 0.2 is small, 0.5 medium, 0.8 large).
    """

    value: float
    interval: Interval
    p: float
    effect: float


def difference(first: float, second: float, of_first: Floats, of_second: Floats, units: int) -> Difference:
    """How much higher the second figure is than the first.

    Args:
        first: On all images.
        second: On all images.
        of_first: [B], in each resample.
        of_second: [B], in the same resamples.
        units: How many scenes, or pairs, are drawn for a resample.
    """
    value = second - first
    changes = of_second - of_first
    changes = changes[~np.isnan(changes)]
    if np.isnan(value) or not len(changes):
        return Difference(np.nan, (np.nan, np.nan), np.nan, np.nan)
    # The difference on all images counts as one more resample, so p is never 0.
    below, above = (1 + int((sign * changes <= EQUAL).sum()) for sign in (1, -1))
    p = of_few(min(1.0, 2 * min(below, above) / (len(changes) + 1)), units)
    if units < 2:
        return Difference(float(value), (np.nan, np.nan), p, np.nan)
    # A resample of n has 1/n of the spread of one, and sees (n - 1)/n of it.
    spread = float(changes.std()) * units / np.sqrt(units - 1)
    effect = 0.0 if abs(value) <= EQUAL else value / spread if spread > EQUAL else np.copysign(np.inf, value)
    return Difference(float(value), interval(changes, units), p, float(effect))


def holm(p: Sequence[float]) -> list[float]:
    """p of each of several comparisons, corrected for their number (Holm 1979); nan stays nan.

    With ten runs that are all alike one of them is soon "better" by chance.
    """
    values = np.asarray(p, np.float64)
    defined = np.flatnonzero(~np.isnan(values))
    order = defined[np.argsort(values[defined], kind="stable")]
    left = np.arange(len(order), 0, -1)
    values[order] = np.minimum(np.maximum.accumulate(values[order] * left), 1.0)
    return values.tolist()
