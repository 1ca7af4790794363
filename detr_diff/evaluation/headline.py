"""The headline numbers, of images that may count several times or not at all, and their intervals."""

import logging
from collections.abc import Sequence

import numpy as np

from detr_diff.evaluation.average_precision import averages
from detr_diff.evaluation.bootstrap import Interval, Units, chunks, draw, interval
from detr_diff.evaluation.calibration import calibration
from detr_diff.evaluation.matching import Matches, match
from detr_diff.evaluation.object_size import COCO_SIZES, Sizes, thirds, with_any
from detr_diff.evaluation.overlap import overlaps
from detr_diff.evaluation.record import MOST, Floats, Ints, Record
from detr_diff.evaluation.score_sweep import (
    SCORE_THRESHOLDS,
    best_column,
    column,
    counts_by_score,
    rates,
    undefined,
)
from detr_diff.evaluation.still_pairs import still_pairs

ANY_CLASS = "any_class"
LONG = 500_000_000  # predictions of all resamples together: half a minute

log = logging.getLogger(__name__)


class Headline:
    """Headline numbers from one matching.

    Args:
        record: Predictions and objects.
        names: Class names.
        threshold: Score threshold of precision, recall, F1 and false alarms.
        sizes: Ranges of object size that have figures of their own; None: those of COCO and thirds.
    """

    def __init__(
        self, record: Record, names: Sequence[str], threshold: float, sizes: Sizes | None = None
    ) -> None:
        record = record.best(MOST)
        self.names = names
        self.column = column(threshold)
        self.sizes = COCO_SIZES | thirds(record) if sizes is None else sizes
        pairs = overlaps(record)
        self.matches = match(record, pairs, sizes=with_any(self.sizes))
        any_class = record.any_class()
        self.any_class = match(any_class, pairs)
        self.calibration = calibration(self.matches)
        self.still_pairs = still_pairs(record, threshold)
        self._counts = {"": _counts(self.matches), f"_{ANY_CLASS}": _counts(self.any_class)}

    def values(self, weights: Ints | None = None) -> dict[str, Floats]:
        """All headline numbers.

        Args:
            weights: [B, N], how often each image counts, in B ways; None: once each, B is 1.

        Returns:
            [B] for each; nan where it is undefined.
        """
        if weights is None:
            weights = np.ones((1, len(self.matches.record.images)), np.int64)
        return {
            **self._averages(weights),
            **self._rates(weights),
            "false_positive_rate": self.still_pairs.rate(weights),
            "false_positives_per_still_pair": self.still_pairs.per_pair(weights),
            "ece": self.calibration.of_images(weights).error(),
        }

    def intervals(self, units: Units, resamples: int, seed: int) -> dict[str, Interval]:
        """95 % intervals of the headline numbers."""
        return self.intervals_of(units, self.resampled(units, resamples, seed))

    def resampled(self, units: Units, resamples: int, seed: int) -> dict[str, Floats]:
        """All headline numbers in each resample, [resamples] each."""
        predictions, images = len(self.matches.record.labels), len(self.matches.record.images)
        if predictions * resamples > LONG:
            said = "%d resamples of %d predictions take a while; bootstrap=... takes fewer"
            log.info(said, resamples, predictions)
        size = max(predictions, 8 * images)  # an image has weights of its own in every resample
        parts = [self.values(draw(units, seed, own)) for own in chunks(resamples, size)]
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def intervals_of(self, units: Units, resampled: dict[str, Floats]) -> dict[str, Interval]:
        """95 % intervals from what `resampled` gave for these units."""
        found = {key: interval(values, units.number) for key, values in resampled.items()}
        return found | self.still_pairs.exact_intervals(units)

    def _averages(self, weights: Ints) -> dict[str, Floats]:
        values = averages(self.matches, len(self.names), weights).figures(self.names, self.sizes)
        any_class = averages(self.any_class, 1, weights).figures([], [])
        return values | {f"{key}_{ANY_CLASS}": any_class[key] for key in ("map", "map_50")}

    def _rates(self, weights: Ints) -> dict[str, Floats]:
        values = {}
        for end, counted in self._counts.items():
            hits, made, objects = (weights @ counts for counts in counted)
            missing = undefined(made[:, self.column], objects)
            sweeps = rates(hits, made, objects[:, None])
            for key, sweep in zip(missing, sweeps, strict=True):
                values[f"{key}{end}"] = np.where(missing[key], np.nan, sweep[:, self.column])
            if not end:
                f1, empty = sweeps[2], objects == 0
                best = np.array(SCORE_THRESHOLDS)[best_column(f1)]
                values["best_threshold"] = np.where(empty, np.nan, best)
                values["best_f1"] = np.where(empty, np.nan, f1.max(axis=1))
        return values


def _counts(matches: Matches) -> tuple[Floats, Floats, Floats]:
    """True positives and predictions of each image by score threshold, and objects, at IoU 0.5.

    In floating point, which makes matrix products fast; they are whole numbers and stay exact.
    """
    record, number = matches.record, len(matches.record.images)
    hits = counts_by_score(record.image, matches.hits(0), record.scores, number)
    made = counts_by_score(record.image, np.ones(len(record.image), np.bool_), record.scores, number)
    objects = np.bincount(record.object_image, minlength=number)
    return hits.astype(float), made.astype(float), objects.astype(float)
