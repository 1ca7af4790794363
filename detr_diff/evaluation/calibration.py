"""Whether a score is the share of predictions that are right.

The expected calibration error of detection: Küppers et al., "Multivariate confidence calibration for
object detection", CVPR Workshops 2020, with the score as the only dimension.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from detr_diff.evaluation.matching import Matches
from detr_diff.evaluation.record import Floats, Ints, at_least

BINS = 10
LOWEST = 0.05  # DETR gives every object query a score; what is near 0 means nothing


@dataclass(frozen=True)
class Calibration:
    """Predictions by their score, in BINS bins of equal width.

    Attributes:
        made: [..., BINS], predictions with at least the score LOWEST.
        hits: [..., BINS], those that found an object of their class, at IoU 0.5.
        scores: [..., BINS], sum of their scores.
    """

    made: Floats
    hits: Floats
    scores: Floats

    def precision(self) -> Floats:
        """Share of the predictions that are right, [..., BINS]; nan without predictions."""
        return np.where(self.made > 0, self.hits / np.maximum(self.made, 1), np.nan)

    def mean_score(self) -> Floats:
        """[..., BINS]; nan without predictions."""
        return np.where(self.made > 0, self.scores / np.maximum(self.made, 1), np.nan)

    def error(self) -> Floats:
        """Expected calibration error, [...]: mean distance of score and precision.

        It is nan without predictions.
        """
        total = self.made.sum(axis=-1)
        distance = np.abs(self.hits - self.scores).sum(axis=-1)
        return np.where(total > 0, distance / np.maximum(total, 1), np.nan)

    def of_images(self, weights: Ints) -> "Calibration":
        """Of all images together, each as often as its weight says: [B, N] and [N, BINS] to [B, BINS]."""
        return Calibration(weights @ self.made, weights @ self.hits, weights @ self.scores)

    def facts(self) -> dict[str, Any]:
        """As primitives."""
        rows = zip(
            self.made.astype(int).tolist(),
            self.mean_score().tolist(),
            self.precision().tolist(),
            strict=True,
        )
        bins = [
            {"from": index / BINS, "to": (index + 1) / BINS, "predictions": number}
            | ({"mean_score": score, "precision": precision} if number else {})
            for index, (number, score, precision) in enumerate(rows)
        ]
        return {"expected_calibration_error": float(self.error()), "lowest_score": LOWEST, "bins": bins}


def calibration(matches: Matches) -> Calibration:
    """The bins of each image, [N, BINS], at the first IoU threshold of the matching."""
    record = matches.record
    kept = at_least(record.scores, LOWEST)
    scores, hits = record.scores[kept], matches.hits(0)[kept]
    place = record.image[kept] * BINS + (scores * BINS).astype(int).clip(max=BINS - 1)
    size = len(record.images) * BINS
    made, right, total = (
        np.bincount(place, amount, size).reshape(-1, BINS).astype(np.float64)
        for amount in (np.ones(len(hits)), hits, scores)
    )
    return Calibration(made, right, total)
