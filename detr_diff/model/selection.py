"""Selection: the parameters that a few words speak of."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from torch import nn

from detr_diff.errors import SettingError, nearest
from detr_diff.model.block_map import BlockMap
from detr_diff.model.families import ALIASES, BLOCKS, Family

# What numbers the layers of a block: those of a transformer, the residual blocks of a backbone.
LAYERS = (
    r"model\.(?:encoder|decoder)\.(?:aifi\.\d+\.)?layers\.(\d+)\.",
    r".*\.encoder\.(?:stages|layers)\.\d+\.(?:layers|blocks)\.(\d+)\.",
    r".*\.stages[._]\d+\.blocks\.(\d+)\.",
    r".*\.layer\d\.(\d+)\.",
    r".*\.blocks\.(\d+)\.(\d+)\.",
    r".*\.s\d\.b(\d+)\.",
)
PART = re.compile(r"(\w+)\[(-?\d*):(-?\d*)\]")
DEPTHS = ("stem", "layer1", "layer2", "layer3", "layer4", "input_projection", "encoder", "decoder")


class ParameterNames:
    """The parameters of a model, to be chosen by words.

    A word is a block or alias (`encoder`, `heads`), some layers of a block (`encoder[-2:]`, its last
    two; what belongs to no layer goes with the last), or a regular expression that the whole name
    matches (`/.*norm.*/`).

    Args:
        detr: The model.
        family: Its DETR variant.
    """

    def __init__(self, detr: nn.Module, family: Family) -> None:
        blocks = BlockMap(detr, family)
        self.blocks: dict[str, str] = {}
        for name, _ in detr.named_parameters():
            block = blocks.of(name)
            if block is None:
                raise ValueError(f"parameter {name} belongs to no block of {family.model}")
            self.blocks[name] = block

    def select(self, words: Iterable[str], setting: str) -> frozenset[str]:
        """The names that any of the words means.

        Args:
            words: Blocks, aliases, parts of blocks, regular expressions.
            setting: Where they were written, for the error message.

        Raises:
            SettingError: A word that means nothing here.
        """
        chosen: set[str] = set()
        for word in words:
            found = self._select(word, setting)
            if not found and word not in BLOCKS and word not in ALIASES:
                raise SettingError(f"{setting}: {word} matches no parameter, {self._near(word)}")
            chosen |= found
        return frozenset(chosen)

    def layers(self, block: str) -> list[list[str]]:
        """The parameters of a block by layer, from the pixels up; one layer where none is numbered."""
        numbered: dict[tuple[int, ...], list[str]] = {}
        others = []
        for name in self._in((block,)):
            number = _layer(name)
            if number is None:
                others.append(name)
            else:
                numbered.setdefault(number, []).append(name)
        found = [numbered[number] for number in sorted(numbered)]
        if found:
            found[-1] += others
            return found
        return [others] if others else []

    def depths(self) -> dict[str, int]:
        """How many layers lie above each parameter: 0 for queries and heads, most for the stem."""
        depths = dict.fromkeys(self._in(set(BLOCKS) - set(DEPTHS)), 0)
        above = 1
        for block in reversed(DEPTHS):
            for layer in reversed(self.layers(block)):
                depths |= dict.fromkeys(layer, above)
                above += 1
        return depths

    def _select(self, word: str, setting: str) -> set[str]:
        if len(word) > 1 and word.startswith("/") and word.endswith("/"):
            try:
                return {name for name in self.blocks if re.fullmatch(word[1:-1], name)}
            except re.error as error:
                raise SettingError(f"{setting}: {word} is no regular expression ({error})") from error
        part = PART.fullmatch(word)
        block = part[1] if part else word
        if block not in BLOCKS and (part or block not in ALIASES):
            known = BLOCKS if part else [*BLOCKS, *ALIASES]
            raise SettingError(f"{setting}: unknown block {block!r}, {nearest(block, known)}")
        if part is None:
            return set(self._in(ALIASES.get(block, (block,))))
        start, stop = (int(number) if number else None for number in part.groups()[1:])
        return {name for layer in self.layers(block)[start:stop] for name in layer}

    def _in(self, blocks: Collection[str]) -> list[str]:
        return [name for name, block in self.blocks.items() if block in blocks]

    def _near(self, word: str) -> str:
        parts: dict[str, None] = {}
        for name in self.blocks:
            pieces = name.split(".")
            parts |= dict.fromkeys(".".join(pieces[:end]) for end in range(1, len(pieces) + 1))
        if not word.startswith("/"):
            return "the block has fewer layers"
        hint = nearest(word.strip("/"), parts)
        return hint if hint.startswith("did you mean") else f"names are like {next(iter(self.blocks))}"


def multiples(
    names: ParameterNames, table: Mapping[str, float], layer_decay: float | None, setting: str
) -> dict[str, float]:
    """What the learning rate of each parameter is multiplied by.

    Args:
        names: The parameters.
        table: Words of a selection to factor; later entries win.
        layer_decay: Factor from each layer to the one below it; None for none.
        setting: Where the table was written.

    Raises:
        SettingError: A word that matches nothing, or a factor below 0.
    """
    factors = dict.fromkeys(names.blocks, 1.0)
    for word, factor in table.items():
        if not isinstance(factor, int | float) or factor < 0:
            raise SettingError(f"{setting}.{word}={factor}: a number from 0")
        factors |= dict.fromkeys(names.select([word], setting), float(factor))
    if layer_decay is not None:
        if not 0.0 < layer_decay <= 1.0:
            raise SettingError(f"layer_decay={layer_decay}: a factor above 0, at most 1")
        factors = {name: factors[name] * layer_decay**depth for name, depth in names.depths().items()}
    return factors


def _layer(name: str) -> tuple[int, ...] | None:
    for pattern in LAYERS:
        match = re.match(pattern, name)
        if match:
            return tuple(int(number) for number in match.groups())
    return None


def prefixes(names: Iterable[str]) -> set[str]:
    """The names of all modules around some parameters."""
    found: set[str] = set()
    for name in names:
        pieces: Sequence[str] = name.split(".")
        found |= {".".join(pieces[:end]) for end in range(len(pieces))}
    return found
