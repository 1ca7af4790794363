"""The blocks of a DETR by name, and shorter ways to name several."""

from collections.abc import Collection

from detr_diff.errors import SettingError, nearest

# Blocks from the pixels up. A stage names them to say what learns.
BLOCKS = (
    "stem",
    "layer1",
    "layer2",
    "layer3",
    "layer4",
    "input_projection",
    "encoder",
    "decoder",
    "queries",
    "class_head",
    "box_head",
)

# Several blocks in one word.
ALIASES = {
    "all": BLOCKS,
    "backbone": BLOCKS[:5],
    "transformer": ("input_projection", "encoder", "decoder", "queries"),
    "heads": ("class_head", "box_head"),
}


def expand(blocks: list[str], setting: str) -> tuple[str, ...]:
    """Blocks and aliases as blocks, in their order from the pixels up.

    Args:
        blocks: Block names or aliases (all, backbone, transformer, heads).
        setting: Where they were written, for the error message.

    Raises:
        SettingError: An unknown name.
    """
    chosen: set[str] = set()
    for name in blocks:
        if name not in BLOCKS and name not in ALIASES:
            raise SettingError(f"{setting}: unknown block {name!r}, {nearest(name, [*BLOCKS, *ALIASES])}")
        chosen.update(ALIASES.get(name, (name,)))
    return tuple(block for block in BLOCKS if block in chosen)


def contract(blocks: Collection[str]) -> list[str]:
    """Blocks by their aliases, where all blocks of an alias are among them."""
    left, names = list(blocks), []
    for alias, members in ALIASES.items():
        if set(members) <= set(left):
            names.append(alias)
            left = [block for block in left if block not in members]
    return [*names, *left]
