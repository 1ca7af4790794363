"""Several runs judged on the same pairs: figures with intervals, and which differences are real."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detr_diff.evaluation.bootstrap import LEVEL, Interval, Units
from detr_diff.evaluation.common_pairs import on_common_pairs
from detr_diff.evaluation.contender import Contender
from detr_diff.evaluation.headline import Headline
from detr_diff.evaluation.pair_errors import pair_errors
from detr_diff.evaluation.paired_bootstrap import Difference, difference, holm

JUDGED = {"map_50": "AP50", "map": "AP", "f1": "F1"}


@dataclass(frozen=True)
class Contest:
    """Runs on their common pairs; the first is what the others are compared with.

    Attributes:
        contenders: The runs, on the common pairs.
        units: What the bootstrap draws.
        resamples: How often.
        seed: Of the bootstrap.
        values: Headline numbers of each run, by name.
        intervals: 95 % intervals of them.
        differences: Of each run from the first, by name of the figure; those of the first are empty.
        corrected: p of AP50, AP and F1, corrected for the number of runs (Holm 1979).
        errors: [runs, pairs], errors in each pair, each run at its own score threshold.
    """

    contenders: list[Contender]
    units: Units
    resamples: int
    seed: int
    values: list[dict[str, float]]
    intervals: list[dict[str, Interval]]
    differences: list[dict[str, Difference]]
    corrected: list[dict[str, float]]
    errors: np.ndarray

    @classmethod
    def of(cls, contenders: Sequence[Contender], resamples: int, seed: int) -> "Contest":
        """Evaluate the runs on their common pairs.

        Raises:
            UserError: There is nothing to compare them on, see `on_common_pairs`.
        """
        runs = on_common_pairs(contenders)
        units = Units.of(runs[0].scenes)
        headlines = [Headline(run.record, run.classes, run.threshold, {}) for run in runs]
        values = [{key: float(value[0]) for key, value in one.values().items()} for one in headlines]
        drawn = [one.resampled(units, resamples, seed) for one in headlines]
        intervals = [one.intervals_of(units, own) for one, own in zip(headlines, drawn, strict=True)]
        differences: list[dict[str, Difference]] = [{}]
        for figures, own in zip(values[1:], drawn[1:], strict=True):
            pairs = {key: (values[0][key], value, drawn[0][key], own[key]) for key, value in figures.items()}
            differences.append({key: difference(*pair, units.number) for key, pair in pairs.items()})
        corrected: list[dict[str, float]] = [{} for _ in runs]
        for key in JUDGED:
            for found, p in zip(corrected[1:], holm([one[key].p for one in differences[1:]]), strict=True):
                found[key] = p
        errors = np.stack([pair_errors(run.record, run.threshold)[:, 2:].sum(axis=1) for run in runs])
        return cls(runs, units, resamples, seed, values, intervals, differences, corrected, errors)

    def verdict(self, run: int, figure: str) -> int:
        """1 when a run is surely better than the first in that figure, -1 when worse, else 0."""
        surely = self.corrected[run][figure] < 1 - LEVEL
        return int(np.sign(self.differences[run][figure].value)) if surely else 0

    def sentence(self, run: int, figure: str) -> str:
        """The verdict in words."""
        own, change = self.contenders[run].name, self.differences[run][figure]
        if np.isnan(change.value):
            return f"{JUDGED[figure]} is not defined on these pairs."
        low, high = change.interval
        between = "" if np.isnan(low) else f" ({low:+.3f} to {high:+.3f})"
        amount = f"{change.value:+.3f}{between}, p {p_text(self.corrected[run][figure])}"
        first = self.contenders[0].name
        verdict = self.verdict(run, figure)
        word = {1: "better than", -1: "worse than", 0: "not shown to differ from"}[verdict]
        caution = ", probably too small" if self.units.caution and verdict else ""
        return f"{own} is {word} {first} in {JUDGED[figure]}: {amount}{caution}"

    def changed_pairs(self, run: int, most: int) -> list[tuple[str, int, int]]:
        """The pairs in which a run makes another number of errors than the first, the largest change first.

        Returns:
            (pair, errors of the first run, errors of this run).
        """
        change = self.errors[run] - self.errors[0]
        order = np.argsort(-np.abs(change), kind="stable")[:most]
        pairs = self.contenders[0].pairs
        return [(pairs[i], int(self.errors[0, i]), int(self.errors[run, i])) for i in order if change[i]]


def p_text(p: float) -> str:
    """p as it is told."""
    return "-" if np.isnan(p) else "below 0.001" if p < 0.001 else f"{p:.3f}"
