"""Whether the model learns eight pairs by heart, and whether the plan could."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from detr_diff.choices import Schedule
from detr_diff.data.finding import Finding, Level
from detr_diff.training.examinations.schedule import Plan
from detr_diff.training.examinations.trial import Trial
from detr_diff.training.schedules import factor

PAIRS = 8
EVERY = 40  # steps between two looks at the AP50
REACHED = 0.5  # AP50 from which on the pairs count as learnt
WARMUP = 0.06  # share of the steps
FELL, HARDLY = 0.75, 0.9  # the loss against that at the start
MOST = 0.8  # of the fall of the loss
SHORT = 1.5, 3.0  # a plan that reaches so many times less is suspicious, and a problem


@dataclass(frozen=True)
class Memorising:
    """How eight pairs were learnt by heart.

    Attributes:
        pairs: How many they were.
        rate: Peak learning rate.
        rates: Of each step.
        losses: Before each step.
        scores: Number of steps to AP50 on the pairs themselves.
        planned: Number of steps that were meant.
    """

    pairs: int
    rate: float
    rates: Sequence[float]
    losses: Sequence[float]
    scores: dict[int, float]
    planned: int

    @property
    def score(self) -> float:
        """The best AP50."""
        return max(self.scores.values(), default=0.0)

    @property
    def fell(self) -> float:
        """The loss of the last steps as a share of that of the first; inf when it is no number."""
        if not self.losses or not np.isfinite(self.losses).all():
            return float("inf")
        return float(np.mean(self.losses[-4:]) / self.losses[0])

    @property
    def reach(self) -> float | None:
        """The rates of the steps added up until most of the fall was done; None without a fall."""
        if self.fell > FELL:
            return None
        smooth = np.convolve(np.pad(self.losses, (4, 0), mode="edge"), np.ones(5) / 5, "valid")
        mostly = smooth[0] + MOST * (smooth[-1] - smooth[0])
        return float(np.sum(self.rates[: int(np.argmax(smooth <= mostly)) + 1]))


def memorise(trial: Trial, rate: float, steps: int, seconds: float) -> Memorising:
    """Learn the pairs of a trial until they are found, the steps are done or the time is over.

    Args:
        trial: With the pairs.
        rate: Peak learning rate.
        steps: At most.
        seconds: At most.
    """
    rates = [rate * factor(Schedule.cosine, step, steps, WARMUP, 1) for step in range(steps)]
    losses: list[float] = []
    scores: dict[int, float] = {}
    start = perf_counter()
    trial.restart()
    for step in range(steps):
        losses.append(trial.step(rates[step], step))
        over = perf_counter() - start > seconds or not np.isfinite(losses[-1])
        if (step + 1) % EVERY == 0 or step + 1 == steps or over:
            scores[step + 1] = float(np.nan_to_num(trial.average_precision()))
            if scores[step + 1] >= REACHED or over:
                break
    return Memorising(len(trial.batch.images), rate, rates[: len(losses)], losses, scores, steps)


def diagnose_memorising(found: Memorising, plan: Plan, known: bool) -> Iterator[Finding]:
    """Whether the pairs were learnt, and whether the plan moves the weights as far as that took.

    Args:
        found: What was measured.
        plan: What decides how much is learnt.
        known: Whether another finding explains already why it learns too little.
    """
    needed = found.reach
    if needed is not None and needed > SHORT[0] * plan.reach and not known:
        yield Finding(
            Level.problem if needed > SHORT[1] * plan.reach else Level.suspicious,
            "learning rate too low",
            f"the rates of all {plan.steps} planned steps add up to {plan.reach:.2g}; most of learning "
            f"{found.pairs} pairs by heart took {needed:.2g} (at a rate of {found.rate:.2g})",
            "AdamW moves a weight by about the rate in a step, so the weights stay near their start",
            f"a peak rate (lr of the stages) of about {found.rate:.1g}, or many more steps",
        )
    if found.score >= REACHED:
        return
    steps = len(found.losses)
    what = (
        f"after {steps} of {found.planned} steps on {found.pairs} pairs the loss is "
        f"{100 * found.fell:.0f} % of that at the start, and AP50 on them {found.score:.2f}"
    )
    if found.fell > HARDLY:
        yield Finding(
            Level.problem,
            "cannot learn eight pairs by heart",
            f"{what} (rate {found.rate:.2g})",
            "a model that cannot learn a handful of pairs by heart learns nothing from many",
            "see the contact sheet: do the boxes lie on what changed? Then see which blocks learn",
        )
    else:
        slow = steps < found.planned or found.fell <= FELL
        yield Finding(
            Level.note if slow else Level.suspicious,
            "eight pairs not learnt yet",
            f"{what}; it is learning" if slow else what,
            "whether they would be found is not known yet",
            "memorise.steps=1000 and memorise.seconds=3600 look longer",
        )
