"""Blocks of a DETR: parameter groups, freezing."""

import re
from collections.abc import Collection
from typing import Any

from torch import nn

from detr_diff.model.backbone import backbone_blocks
from detr_diff.model.families import BACKBONE, BLOCKS, Family


class BlockMap:
    """Which block the parameters and modules of a model belong to.

    Args:
        detr: The model.
        family: Its DETR variant.
    """

    def __init__(self, detr: nn.Module, family: Family) -> None:
        self.family = family
        self._in_backbone = backbone_blocks(detr)

    def of(self, name: str) -> str | None:
        """The block of a parameter, or of a module whose name ends in a dot.

        None for a module above all blocks.
        """
        if name.startswith(BACKBONE):
            return self._in_backbone(name.removeprefix(BACKBONE))
        return next((b for b, pattern in self.family.blocks.items() if re.match(pattern, name)), None)


def parameters_by_block(detr: nn.Module, family: Family) -> dict[str, list[nn.Parameter]]:
    """Every parameter once, by block, in the order of BLOCKS.

    Raises:
        ValueError: A parameter that no block covers.
    """
    blocks = BlockMap(detr, family)
    groups: dict[str, list[nn.Parameter]] = {block: [] for block in BLOCKS}
    for name, parameter in detr.named_parameters():
        block = blocks.of(name)
        if block is None:
            raise ValueError(f"parameter {name} belongs to no block of {family.model}")
        groups[block].append(parameter)
    return {block: parameters for block, parameters in groups.items() if parameters}


def parameter_groups(detr: nn.Module, family: Family, weight_decay: float) -> list[dict[str, Any]]:
    """Optimizer groups: one per block, split into decayed weights and undecayed norms and biases.

    Frozen parameters are included. AdamW skips what has no gradient, and a layout that never
    changes is what lets the optimizer state, which torch restores by position, load correctly.

    Returns:
        Groups with the keys params, weight_decay, and block.
    """
    groups = []
    for block, parameters in parameters_by_block(detr, family).items():
        for decay in (True, False):
            chosen = [p for p in parameters if (p.ndim > 1) is decay]
            if chosen:
                settings = {"block": block, "weight_decay": weight_decay if decay else 0.0}
                groups.append({"params": chosen, **settings})
    return groups


def set_learning(detr: nn.Module, family: Family, learning: Collection[str]) -> None:
    """Let the named blocks learn and freeze all others.

    A frozen block gets no gradients, and its batch norm and dropout are in evaluation mode, so
    that nothing in it changes. Call it again after every `train()`.
    """
    blocks = BlockMap(detr, family)
    for name, parameter in detr.named_parameters():
        fixed = family.fixed is not None and re.match(family.fixed, name) is not None
        parameter.requires_grad_(blocks.of(name) in learning and not fixed)
    for name, module in detr.named_modules():
        block = blocks.of(f"{name}.")
        module.training = block is None or block in learning
