"""Learning rate as a function of the step, and of nothing else."""

import math

from detr_diff.choices import Schedule


def factor(schedule: Schedule, step: int, steps: int, warmup: float, cycles: int) -> float:
    """Share of the peak learning rate at a step of a stage.

    Args:
        schedule: See Schedule.
        step: From 0.
        steps: Number of optimizer steps of the stage.
        warmup: Share of the steps in which the rate rises linearly to the peak.
        cycles: Number of cosines (Loshchilov and Hutter 2017, arXiv:1608.03983).

    Returns:
        A number in [0, 1]; 0 only after the last step.
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    if schedule is Schedule.constant:
        return 1.0
    progress = (step - rising) / max(1, steps - rising)
    if progress >= 1.0:
        return 0.0
    if schedule is Schedule.linear:
        return 1.0 - progress
    return 0.5 * (1.0 + math.cos(math.pi * (cycles * progress % 1.0)))
