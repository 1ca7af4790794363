"""All that is told about one evaluation beyond its figures: how sure, which errors, which scores."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detr_diff.evaluation.bootstrap import Interval, Units
from detr_diff.evaluation.calibration import Calibration
from detr_diff.evaluation.confusion import Confusion, confusion
from detr_diff.evaluation.error_parts import find_errors
from detr_diff.evaluation.headline import Headline
from detr_diff.evaluation.object_size import Sizes
from detr_diff.evaluation.record import MOST, Record


@dataclass(frozen=True)
class Analysis:
    """The parts of evaluation.json and analysis.json that are more than a number.

    Attributes:
        units: What the bootstrap draws.
        resamples: How often.
        seed: Of the bootstrap.
        intervals: 95 % interval of each headline number, by its name; none without resamples or of few units.
        confusion: The confusion matrix at the score threshold.
        errors: How many predictions and objects are wrong in which way, at the score threshold.
        calibration: The bins of all images together.
        sizes: Ranges of area in square pixels by name.
        objects_by_size: How many objects are in each range.
        objects: How many objects each class has.
        still_pairs: In how many pairs nothing moved.
    """

    units: Units
    resamples: int
    seed: int
    intervals: dict[str, Interval]
    confusion: Confusion
    errors: dict[str, int]
    calibration: Calibration
    sizes: Sizes
    objects_by_size: dict[str, int]
    objects: dict[str, int]
    still_pairs: int

    def facts(self, prefix: str) -> dict[str, Any]:
        """As primitives that JSON knows; what is undefined is None.

        Args:
            prefix: Put before the names of the figures that have intervals.
        """
        parts: dict[str, Any] = {
            "bootstrap": {
                "drawn": self.units.kind,
                "number": self.units.number,
                "caution": self.units.caution,
                "resamples": self.resamples,
                "seed": self.seed,
            },
            "intervals": {f"{prefix}{key}": list(both) for key, both in self.intervals.items()},
            "objects": sum(self.objects.values()),
            "objects_by_class": self.objects,
            "still_pairs": self.still_pairs,
            "sizes": {
                name: {"area_from": low, "area_to": high, "objects": self.objects_by_size[name]}
                for name, (low, high) in self.sizes.items()
            },
            "confusion_matrix": self.confusion.facts(),
            "errors": self.errors,
            "calibration": self.calibration.facts(),
        }
        return {key: _defined(value) for key, value in parts.items()}


def analyse(
    record: Record,
    names: Sequence[str],
    threshold: float,
    scenes: Sequence[str | None],
    resamples: int = 1000,
    seed: int = 0,
) -> Analysis:
    """Look closely at predictions and objects.

    Args:
        record: Predictions and objects.
        names: Class names.
        threshold: Score from which a prediction counts in the confusion matrix, among the errors and
            for precision, recall, F1 and false alarms.
        scenes: Of each image.
        resamples: How often the bootstrap draws; 0: no intervals.
        seed: Of the bootstrap.
    """
    record = record.best(MOST)
    headline = Headline(record, names, threshold)
    units = Units.of(scenes)
    once = np.ones((1, len(record.images)), np.int64)
    bins = headline.calibration.of_images(once)
    inside = headline.matches.object_inside[1:].sum(axis=1).tolist()
    number = np.bincount(record.object_labels, minlength=len(names)).tolist()
    return Analysis(
        units,
        resamples,
        seed,
        headline.intervals(units, resamples, seed) if resamples and not units.too_few else {},
        confusion(record, names, threshold),
        find_errors(record.above(threshold)).counts(),
        Calibration(bins.made[0], bins.hits[0], bins.scores[0]),
        headline.sizes,
        dict(zip(headline.sizes, inside, strict=True)),
        dict(zip(names, number, strict=True)),
        int(headline.still_pairs.still.sum()),
    )


def _defined(value: Any) -> Any:
    """The value with None for every number that is not finite."""
    if isinstance(value, dict):
        return {key: _defined(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_defined(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
