"""Findings about the stages: how much a training can learn in its steps."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from detr_diff.data.finding import Finding, Level, percent, some
from detr_diff.training.schedules import factor
from detr_diff.training.stages import Stage, StagePlan

FEW_STEPS = {True: 50, False: 150}  # pretrained or not; DETR learns nothing in fewer
MOST_WARMUP = 0.5  # share of a stage


@dataclass(frozen=True)
class Plan:
    """What decides how much is learnt.

    Attributes:
        stages: In order.
        pairs: Number of training pairs.
        batch_size: Pairs in a batch, where the stage does not say.
        accumulate: Batches in an optimizer step.
        devices: Processes that share an epoch.
        max_epochs: Epochs after which the trainer stops; None: as many as the stages have.
        limit: Batches of an epoch (a whole number) or their share; None: all.
    """

    stages: StagePlan
    pairs: int
    batch_size: int
    accumulate: int = 1
    devices: int = 1
    max_epochs: int | None = None
    limit: float | None = None

    def batches(self, stage: Stage) -> int:
        """Batches of an epoch."""
        number = math.ceil(self.pairs / (stage.batch_size or self.batch_size) / self.devices)
        if self.limit is None:
            return number
        return min(number, self.limit) if isinstance(self.limit, int) else int(number * self.limit)

    def steps_per_epoch(self, stage: Stage) -> int:
        """Optimizer steps of an epoch."""
        return math.ceil(self.batches(stage) / self.accumulate)

    def epochs(self) -> list[int]:
        """Of each stage, as far as the trainer goes."""
        left = self.stages.epochs if self.max_epochs is None else self.max_epochs
        found = []
        for stage in self.stages.stages:
            found.append(max(0, min(stage.epochs, left)))
            left -= stage.epochs
        return found

    @property
    def steps(self) -> int:
        """Optimizer steps of all stages."""
        rows = zip(self.epochs(), self.stages.stages, strict=True)
        return sum(epochs * self.steps_per_epoch(stage) for epochs, stage in rows)

    @property
    def reach(self) -> float:
        """The peak rates of all steps added up: about how far AdamW can move a weight.

        A step of Adam moves a weight by about the rate (Kingma and Ba 2015, arXiv:1412.6980,
        section 2.1).
        """
        total = 0.0
        for epochs, stage in zip(self.epochs(), self.stages.stages, strict=True):
            per_epoch = self.steps_per_epoch(stage)
            planned, done = stage.epochs * per_epoch, epochs * per_epoch
            factors = (
                factor(stage.schedule, step, planned, stage.warmup, stage.cycles) for step in range(done)
            )
            total += max(stage.rates.values()) * sum(factors)
        return total


def diagnose_plan(plan: Plan, pretrained: bool) -> Iterator[Finding]:
    """Whether the steps are enough, and used.

    Args:
        plan: What decides how much is learnt.
        pretrained: Whether the backbone is.
    """
    accumulates = [s for s in plan.stages.stages if plan.accumulate > max(1, plan.batches(s))]
    large = [s for s in plan.stages.stages if (s.batch_size or plan.batch_size) > plan.pairs]
    steps, least = plan.steps, FEW_STEPS[pretrained]
    if steps < least:
        causes = [
            f"{some(plan.pairs, 'training pair', 'training pairs')}",
            f"batches of {plan.batch_size}",
            f"{plan.accumulate} accumulated",
            f"{some(sum(plan.epochs()), 'epoch', 'epochs')}",
        ]
        less = (
            "a smaller trainer.accumulate_grad_batches and data.batch_size, "
            if accumulates or large or plan.accumulate > 1
            else ""
        )
        yield Finding(
            Level.problem if steps < least / 2 else Level.suspicious,
            "too few optimizer steps",
            f"the training has {some(steps, 'optimizer step', 'optimizer steps')}: {', '.join(causes)}",
            f"a DETR {'with' if pretrained else 'without'} pretrained weights needs at least {least} steps",
            f"{less}more epochs in stages, or more pairs",
        )
    elif accumulates:
        stage = accumulates[0]
        yield Finding(
            Level.suspicious,
            "accumulation longer than an epoch",
            f"trainer.accumulate_grad_batches={plan.accumulate}, but an epoch of stage {stage.name} has "
            f"{some(plan.batches(stage), 'batch', 'batches')}",
            "an epoch is a single optimizer step, on fewer pairs than was meant",
            "a smaller trainer.accumulate_grad_batches",
        )
    for stage in plan.stages.stages:
        if stage.warmup > MOST_WARMUP:
            yield Finding(
                Level.suspicious,
                "warm-up too long",
                f"{percent(stage.warmup)} of stage {stage.name} is warm-up",
                "the rate is below its peak nearly always, so that little is learnt",
                f"stages.{stage.name}.warmup=0.1; it is a share of the stage, no number of steps",
            )
    lost = [s.name for s, epochs in zip(plan.stages.stages, plan.epochs(), strict=True) if not epochs]
    if lost:
        yield Finding(
            Level.suspicious,
            "stages that never come",
            f"trainer.max_epochs={plan.max_epochs} ends the training before {_names(lost)}",
            "these stages have no epoch",
            "trainer.max_epochs=null trains as many epochs as the stages have",
        )


def _names(names: Sequence[str]) -> str:
    return f"stage {names[0]}" if len(names) == 1 else f"stages {', '.join(names)}"
