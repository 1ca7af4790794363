"""Blocks of a DETR: parameter groups, freezing."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import nn

from detr_diff.model.block_map import BlockMap
from detr_diff.model.families import BLOCKS, Family
from detr_diff.model.selection import ParameterNames, multiples, prefixes


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


def parameter_groups(
    detr: nn.Module,
    family: Family,
    weight_decay: float,
    table: Mapping[str, float] | None = None,
    layer_decay: float | None = None,
) -> list[dict[str, Any]]:
    """Optimizer groups by block, by weight decay (norms and biases have none) and by multiple.

    Frozen parameters are included. AdamW skips what has no gradient, and a layout that never
    changes is what lets the optimizer state, which torch restores by position, load correctly.

    Args:
        detr: The model.
        family: Its DETR variant.
        weight_decay: Of weights.
        table: Words of a selection to the multiple of the block's rate, see selection.py.
        layer_decay: Factor from each layer to the one below it (Clark et al. 2020,
            arXiv:2003.10555).

    Returns:
        Groups with the keys params, weight_decay, block, and multiple.

    Raises:
        SettingError: A word that matches nothing.
    """
    names = ParameterNames(detr, family)
    factors = multiples(names, table or {}, layer_decay, "optimizer.multiples")
    groups: dict[tuple[str, bool, float], dict[str, Any]] = {}
    for name, parameter in detr.named_parameters():
        block, decay, factor = names.blocks[name], parameter.ndim > 1, factors[name]
        settings = {
            "params": [],
            "block": block,
            "weight_decay": weight_decay if decay else 0.0,
            "multiple": factor,
        }
        groups.setdefault((block, decay, factor), settings)["params"].append(parameter)
    order = {key: index for index, key in enumerate(groups)}
    keys = sorted(groups, key=lambda key: (BLOCKS.index(key[0]), not key[1], order[key]))
    return [groups[key] for key in keys]


def set_learning(detr: nn.Module, family: Family, learning: Collection[str]) -> None:
    """Let some parameters learn and freeze all others.

    What is frozen gets no gradients, and its batch norm and dropout are in evaluation mode, so
    that nothing in it changes. Call it again after every `train()`.

    Args:
        detr: The model.
        family: Its DETR variant.
        learning: Words of a selection, see selection.py; the names of blocks are the simplest.

    Raises:
        SettingError: A word that matches nothing.
    """
    names = ParameterNames(detr, family)
    chosen = names.select(learning, "learn")
    for name, parameter in detr.named_parameters():
        fixed = family.fixed is not None and re.match(family.fixed, name) is not None
        parameter.requires_grad_(name in chosen and not fixed)
    blocks = BlockMap(detr, family)
    whole = dict.fromkeys(BLOCKS, True) | {names.blocks[n]: False for n in names.blocks.keys() - chosen}
    some = {names.blocks[name] for name in chosen}
    around, around_chosen = prefixes(names.blocks), prefixes(chosen)
    modes: dict[str, bool] = {}
    for name, module in detr.named_modules():
        block = blocks.of(f"{name}.")
        if block is None or block not in some or whole[block]:
            modes[name] = block is None or block in some
        else:
            # Part of the block learns. A dropout goes with the module that it is in.
            modes[name] = name in around_chosen if name in around else modes[name.rpartition(".")[0]]
        module.training = modes[name]
