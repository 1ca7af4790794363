"""The learning rates of a step, set and told."""

from torch.optim import Optimizer

from detr_diff.training.stages import Timeline


def set_rates(optimizer: Optimizer, timeline: Timeline, step: int) -> dict[str, float]:
    """Give every group of an optimizer its rate at a step; where nothing learns it is 0.

    Args:
        optimizer: Its groups have a block, and a multiple unless they are of an older checkpoint.
        timeline: The stages.
        step: Optimizer steps done.

    Returns:
        The highest rate in each block, by the name in the figures.
    """
    figures: dict[str, float] = {}
    for group in optimizer.param_groups:
        learns = any(parameter.requires_grad for parameter in group["params"])
        rate = timeline.rate(group["block"], step) * group.get("multiple", 1.0) if learns else 0.0
        group["lr"] = rate
        name = f"lr/{group['block']}"
        figures[name] = max(figures.get(name, 0.0), rate)
    return figures
