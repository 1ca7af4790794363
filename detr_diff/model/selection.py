"""Selection: the parameters that a few words speak of."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from torch import nn

from detr_diff.errors import SettingError, nearest
from detr_diff.model.block_map import BlockMap
from detr_diff.model.block_names import ALIASES, BLOCKS
from detr_diff.model.families import Family

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


def blocks_meant(word: str, setting: str) -> tuple[str, ...]:
    """The blocks in which a word may choose parameters; all of them for an expression.

    Needs no model, so that a wrong word is told before one is built.

    Args:
        word: See ParameterNames.
        setting: Where it was written, for the error message.

    Raises:
        SettingError: An unknown block, or what is no regular expression.
    """
    if _is_expression(word):
        try:
            re.compile(word[1:-1])
        except re.error as error:
            raise SettingError(f"{setting}: {word} is no regular expression ({error})") from error
        return BLOCKS
    part = PART.fullmatch(word)
    block = part[1] if part else word
    if block not in BLOCKS and block not in ALIASES:
        raise SettingError(f"{setting}: unknown block {block!r}, {nearest(block, [*BLOCKS, *ALIASES])}")
    return ALIASES.get(block, (block,))


def is_block(word: str) -> bool:
    """Whether a word is a block or an alias: such a word may mean nothing in some model."""
    return word in BLOCKS or word in ALIASES


class ParameterNames:
    """The parameters of a model, to be chosen by words.

    A word is one of

    - a block or alias: `encoder`, `heads`;
    - some of its layers, counted as in a Python list from the pixels up: `decoder[-2:]` is the last two
      of the decoder, `backbone[:-3]` all residual blocks but the last three, `transformer[-4:]` the
      last four of encoder and decoder together. What belongs to no layer goes with the last one; a
      block without layers (stem, input_projection, queries, heads) goes with the layer after it, or
      with the last;
    - a regular expression between slashes that the whole name matches: `/.*norm.*/`.

    Args:
        detr: The model.
        family: Its DETR variant.
    """

    def __init__(self, detr: nn.Module, family: Family) -> None:
        self.family = family
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
            if not found and not is_block(word):
                raise SettingError(f"{setting}: {word} matches no parameter, {self._near(word)}")
            chosen |= found
        return frozenset(chosen)

    def learning(self, learn: Iterable[str], freeze: Iterable[str], where: str) -> frozenset[str]:
        """What some words let learn and others do not; constants never learn.

        Args:
            learn: Words.
            freeze: Words; they win.
            where: The setting above `learn` and `freeze`.

        Raises:
            SettingError: A word that means nothing here.
        """
        chosen = self.select(learn, f"{where}.learn") - self.select(freeze, f"{where}.freeze")
        return frozenset(name for name in chosen if self.may_learn(name))

    def may_learn(self, name: str) -> bool:
        """Whether a parameter is more than a constant of the family."""
        return self.family.fixed is None or not re.match(self.family.fixed, name)

    def layers(self, *blocks: str) -> list[list[str]]:
        """The parameters of blocks by layer, from the pixels up; one layer where none is numbered."""
        found: list[list[str]] = []
        waiting: list[str] = []
        for block in blocks:
            numbered: dict[tuple[int, ...], list[str]] = {}
            others = []
            for name in self._in((block,)):
                number = _layer(name)
                if number is None:
                    others.append(name)
                else:
                    numbered.setdefault(number, []).append(name)
            if numbered:
                found += [numbered[number] for number in sorted(numbered)]
                found[-len(numbered)] += waiting
                found[-1] += others
                waiting = []
            else:
                waiting += others
        if not found:
            return [waiting] if waiting else []
        found[-1] += waiting
        return found

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
        blocks = blocks_meant(word, setting)
        if _is_expression(word):
            return {name for name in self.blocks if re.fullmatch(word[1:-1], name)}
        part = PART.fullmatch(word)
        if part is None:
            return set(self._in(blocks))
        start, stop = (int(number) if number else None for number in part.groups()[1:])
        return {name for layer in self.layers(*blocks)[start:stop] for name in layer}

    def _in(self, blocks: Collection[str]) -> list[str]:
        return [name for name, block in self.blocks.items() if block in blocks]

    def _near(self, word: str) -> str:
        if not _is_expression(word):
            block = word.partition("[")[0]
            return f"{block} has {len(self.layers(*blocks_meant(block, word)))} layers"
        inside = sum(re.search(word[1:-1], name) is not None for name in self.blocks)
        if inside:
            return f"it must match a whole name, as /.*{word[1:-1]}.*/, which matches {inside}"
        parts: dict[str, None] = {}
        for name in self.blocks:
            pieces = name.split(".")
            parts |= dict.fromkeys(".".join(pieces[:end]) for end in range(1, len(pieces) + 1))
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
        setting: The setting above `multiples` and `layer_decay`.

    Raises:
        SettingError: No map, a word that matches nothing, a factor below 0, or a decay that is none.
    """
    if not isinstance(table, Mapping):
        raise SettingError(f"{setting}.multiples={table}: a map of blocks, layers or expressions to factors")
    factors = dict.fromkeys(names.blocks, 1.0)
    for word, factor in table.items():
        if not isinstance(factor, int | float) or factor < 0:
            raise SettingError(f"{setting}.multiples.{word}={factor}: a number from 0")
        factors |= dict.fromkeys(names.select([word], f"{setting}.multiples"), float(factor))
    if layer_decay is not None:
        if not 0.0 < layer_decay <= 1.0:
            raise SettingError(f"{setting}.layer_decay={layer_decay}: a factor above 0, at most 1")
        factors = {name: factors[name] * layer_decay**depth for name, depth in names.depths().items()}
    return factors


def _is_expression(word: str) -> bool:
    return len(word) > 1 and word.startswith("/") and word.endswith("/")


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
