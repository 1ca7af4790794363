"""The learning-rate range test, and what it says of the planned rate."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from detr_diff.data.finding import Finding, Level
from detr_diff.training.examinations.trial import Trial

LOWEST, HIGHEST, STEPS = 1e-5, 1.0, 21  # four steps for a factor of ten
AT_PLANNED = 10  # steps at the planned rate
BELOW_BEST = 4.0  # the suggested rate is so many times below that of the lowest loss
FAR = 8.0  # a planned rate so many times above that of the lowest loss is too high


@dataclass(frozen=True)
class RateRange:
    """What a rising learning rate does to the loss (Smith 2017, arXiv:1506.01186).

    Attributes:
        rates: Of each step, rising by a constant factor.
        losses: Before each step, on the same pairs; ends where the loss is no number.
        planned: The largest peak rate of the plan.
        planned_losses: The loss in a few steps at that rate.
    """

    rates: Sequence[float]
    losses: Sequence[float]
    planned: float
    planned_losses: Sequence[float]

    @property
    def best(self) -> float:
        """The rate at which the smoothed loss is lowest."""
        losses = np.asarray(self.losses)
        smooth = np.convolve(np.pad(losses, 1, mode="edge"), np.ones(3) / 3, "valid")
        # The loss before a step is what the rates before it made.
        return self.rates[max(0, int(np.nanargmin(smooth)) - 1)]

    @property
    def suggested(self) -> float:
        """A peak rate that is safely below."""
        return self.best / BELOW_BEST

    @property
    def falls(self) -> bool:
        """Whether the loss falls at the planned rate."""
        losses = self.planned_losses
        if len(losses) < AT_PLANNED or not np.isfinite(losses).all():
            return False
        return float(np.median(losses[-3:])) < losses[0]


def measure_rates(trial: Trial, planned: float) -> RateRange:
    """Raise the rate step by step; then a few steps at the planned rate, both from the start."""
    rates = np.geomspace(LOWEST, HIGHEST, STEPS).tolist()
    losses = trial.losses(lambda step: rates[step], STEPS, same=True)
    finite = [loss for loss in losses if np.isfinite(loss)]
    at_planned = trial.losses(lambda step: planned, AT_PLANNED, same=True)
    return RateRange(rates[: len(finite)], finite, planned, at_planned)


def diagnose_rates(found: RateRange) -> Iterator[Finding]:
    """Whether the planned rate is too high; whether it is too low depends on the steps, see `memorising`."""
    above = found.planned / found.best
    if above <= FAR and (found.falls or above <= 1.0):
        return
    first, last = found.planned_losses[0], found.planned_losses[-1]
    seen = f"from {first:.3g} to {last:.3g}" if np.isfinite(last) else f"from {first:.3g} to no number"
    yield Finding(
        Level.suspicious if found.falls else Level.problem,
        "learning rate too high",
        f"the planned peak rate is {found.planned:g}; in {len(found.planned_losses)} steps at it the loss "
        f"goes {seen}. In a test with a rising rate the loss was lowest at {found.best:.2g}",
        "the weights jump over what they should find, and the features are lost for good",
        f"a peak rate (lr of the stages) of about {found.suggested:.1g}",
    )
