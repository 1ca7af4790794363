"""The frozen prefix of a DETR: its outputs are kept, and the rest goes on from them."""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from detr_diff.model.block_map import BlockMap
from detr_diff.model.block_names import BLOCKS
from detr_diff.model.cuts import Cut
from detr_diff.model.families import Family


def blocks_before(cut: Cut) -> tuple[str, ...]:
    """The blocks that a cut leaves out, from the pixels up."""
    return BLOCKS[: BLOCKS.index(cut.last) + 1]


def deepest_cut(family: Family, learning: Collection[str]) -> Cut | None:
    """The cut that leaves out most and has nothing before it that learns; None when there is none.

    Args:
        family: The DETR variant.
        learning: The blocks in which something learns. All others must be in evaluation mode,
            see `blocks.let_learn`.
    """
    possible = [cut for cut in family.cuts if not set(blocks_before(cut)) & set(learning)]
    return max(possible, key=lambda cut: BLOCKS.index(cut.last), default=None)


def keep(detr: nn.Module, cut: Cut, images: Tensor) -> list[Tensor]:
    """Run the model on images of one size and take what `replay` needs.

    Args:
        detr: The model; it comes back in the mode in which it was.
        cut: Where it is cut.
        images: float [B, C, H, W], without padding: padding reaches into the outputs and depends
            on the other images of a batch.

    Returns:
        Tensors [B, ...] without gradient.
    """
    outputs: dict[str, Any] = {}
    modes = {module: module.training for module in detr.modules()}
    forwards = {path: partial(_note, outputs, path, detr.get_submodule(path).forward) for path in cut.modules}
    # Batch norm and dropout of the blocks that learn must not notice.
    detr.eval()
    try:
        with torch.no_grad(), _instead(detr, forwards):
            detr(pixel_values=images)
    finally:
        for module, training in modes.items():
            module.training = training
    return [tensor.detach() for tensor in cut.keep(outputs)]


@contextmanager
def replay(detr: nn.Module, cut: Cut, kept: Sequence[Tensor]) -> Iterator[None]:
    """Inside, the model does not run what is before the cut but goes on from what was kept.

    Of the images that it is called with only number, size, type and device are looked at; they may
    have no channels.

    Args:
        detr: The model.
        cut: Where it is cut.
        kept: What `keep` returned, any rows of it.
    """
    given = cut.give(kept)
    with _instead(detr, {path: partial(_return, output) for path, output in given.items()}):
        yield


def before_cut(detr: nn.Module, family: Family, cut: Cut) -> dict[str, Tensor]:
    """All weights and statistics before the cut."""
    before, blocks = blocks_before(cut), BlockMap(detr, family)
    return {name: tensor for name, tensor in detr.state_dict().items() if blocks.of(name) in before}


def versions(tensors: Mapping[str, Tensor]) -> tuple[tuple[int, int], ...]:
    """Of tensors; others when one was written to or replaced, whatever with. It takes no time."""
    return tuple((tensor.data_ptr(), tensor._version) for tensor in tensors.values())


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Of tensors with their names; it changes when one of them changes."""
    state = hashlib.sha256()
    for name, tensor in tensors.items():
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        state.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return state.hexdigest()


@contextmanager
def _instead(detr: nn.Module, forwards: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    """Inside, modules do something else, compiled ones too.

    Args:
        detr: The model.
        forwards: Path of a module to what it does.
    """
    names = ("forward", "_compiled_call_impl")
    before = []
    try:
        for path, forward in forwards.items():
            own = vars(detr.get_submodule(path))
            before.append((own, {name: own[name] for name in names if name in own}))
            own.update(zip(names, (forward, None), strict=True))
        yield
    finally:
        for own, kept in before:
            for name in names:
                del own[name]
            own.update(kept)


def _note(outputs: dict[str, Any], path: str, forward: Any, *arguments: Any, **settings: Any) -> Any:
    outputs[path] = forward(*arguments, **settings)
    return outputs[path]


def _return(output: Any, *arguments: Any, **settings: Any) -> Any:
    return output
