"""Blocks of a DETR: parameter groups, freezing."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from detr_diff.model.block_map import BlockMap
from detr_diff.model.block_names import BLOCKS
from detr_diff.model.families import ClassLoss, Family
from detr_diff.model.selection import ParameterNames, multiples, prefixes


@dataclass(frozen=True)
class RateGroup:
    """The parameters of a block that have one multiple of its learning rate.

    Attributes:
        block: The block.
        multiple: What its rate is multiplied by.
        names: The parameters.
        divided: Whether the block has other multiples too.
        learnable: How many of the parameters are not constants of the family.
    """

    block: str
    multiple: float
    names: tuple[str, ...]
    divided: bool
    learnable: int

    @property
    def label(self) -> str:
        """The block, and the multiple where it says something."""
        plain = not self.divided and self.multiple == 1.0
        return self.block if plain else f"{self.block} x{self.multiple:.3g}"


def rate_groups(
    names: ParameterNames, table: Mapping[str, float] | None = None, layer_decay: float | None = None
) -> list[RateGroup]:
    """Every parameter once, by block in the order of BLOCKS, and by multiple.

    Args:
        names: The parameters of a model.
        table: Words of a selection to the multiple of the block's rate, see selection.py.
        layer_decay: Factor from each layer to the one below it (Clark et al. 2020,
            arXiv:2003.10555).

    Raises:
        SettingError: A word that matches nothing.
    """
    factors = multiples(names, table or {}, layer_decay, "optimizer")
    found: dict[str, dict[float, list[str]]] = {}
    for name, block in names.blocks.items():
        found.setdefault(block, {}).setdefault(factors[name], []).append(name)
    return [
        RateGroup(block, multiple, tuple(listed), len(found[block]) > 1, sum(map(names.may_learn, listed)))
        for block in BLOCKS
        for multiple, listed in found.get(block, {}).items()
    ]


def parameter_groups(
    detr: nn.Module, groups: Iterable[RateGroup], weight_decay: float
) -> list[dict[str, Any]]:
    """Optimizer groups by block, by weight decay (norms and biases have none) and by multiple.

    Frozen parameters are included. AdamW skips what has no gradient, and a layout that never
    changes is what lets the optimizer state, which torch restores by position, load correctly.

    Args:
        detr: The model.
        groups: See rate_groups().
        weight_decay: Of weights.

    Returns:
        Groups with the keys params, weight_decay, block, and multiple.
    """
    parameters = dict(detr.named_parameters())
    found = []
    # Of one block first all that decays: a checkpoint's optimizer state is in this order.
    by_block: dict[str, list[RateGroup]] = {}
    for group in groups:
        by_block.setdefault(group.block, []).append(group)
    for block, parts in by_block.items():
        for decays in (True, False):
            for part in parts:
                listed = [parameters[name] for name in part.names]
                listed = [parameter for parameter in listed if (parameter.ndim > 1) is decays]
                if listed:
                    decay = weight_decay if decays else 0.0
                    settings = {"block": block, "weight_decay": decay, "multiple": part.multiple}
                    found.append({"params": listed, **settings})
    return found


def let_learn(detr: nn.Module, family: Family, chosen: Collection[str]) -> None:
    """Let some parameters learn and freeze all others.

    What is frozen gets no gradients, and its batch norm and dropout are in evaluation mode, so
    that nothing in it changes. A module with parameters is frozen when none of them learns; one
    without, as a dropout, goes with the module that it is in. So the dropout of a layer is on as
    soon as any parameter of the layer learns. Call it again after every `train()`.

    Args:
        detr: The model.
        family: Its DETR variant.
        chosen: Names of parameters.
    """
    blocks, owners = BlockMap(detr, family), []
    for name, parameter in detr.named_parameters():
        parameter.requires_grad_(name in chosen)
        owners.append(name)
    learning = {blocks.of(name) for name in chosen}
    around, around_chosen = prefixes(owners), prefixes(chosen)
    modes: dict[str, bool] = {}
    for name, module in detr.named_modules():
        block = blocks.of(f"{name}.")
        if block is None:  # above all blocks
            modes[name] = True
        elif name in around:
            modes[name] = name in around_chosen
        else:
            inside = blocks.of(f"{name.rpartition('.')[0]}.") is not None
            modes[name] = modes[name.rpartition(".")[0]] if inside else block in learning
        module.training = modes[name]
    if family.class_loss is ClassLoss.transformers:
        # D-FINE collects what its layers say, for their losses, only in training.
        detr.get_submodule("model.decoder").training = True
