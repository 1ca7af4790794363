"""Reading a file of tensors without running anything that is in it."""

import argparse
import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from detr_diff.errors import PretrainedError

# Where training scripts put the tensors among other things.
INSIDE = ("state_dict", "model", "model_state_dict", "ema", "module", "teacher")
# What they or a wrapper put before each name.
PREFIXES = ("module.", "_orig_mod.", "detr.")
# Of our checkpoints with averaged weights: they are what was evaluated.
AVERAGED = "average.module."
# What torch and safetensors raise for a file that is damaged or something else.
READING = (
    pickle.UnpicklingError,
    SafetensorError,
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
)


def read(path: Path, setting: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file, and what else is in it.

    Args:
        path: A .safetensors, .pth, .pt, .ckpt or .bin file, or the index of several.
        setting: Where the path was written, for error messages.

    Returns:
        Name to tensor, on the CPU, and the other entries of a training checkpoint.

    Raises:
        PretrainedError: The file is damaged, holds no tensors, or holds Python objects.
    """
    if path.name.endswith(".index.json"):
        tensors: dict[str, Tensor] = {}
        for shard in shards(path):
            tensors |= read(shard, setting)[0]
        return tensors, {}
    try:
        if path.suffix == ".safetensors":
            return _without_prefix(load_file(path)), {}
        # Training scripts of DETR keep their arguments beside the tensors; a namespace is no code.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except READING as error:
        raise PretrainedError(f"{setting}: {_reason(error, path)}") from error
    found, others = _tensors(content), content if isinstance(content, dict) else {}
    if not found:
        raise PretrainedError(f"{setting}: {path.name} holds no tensors with names")
    return _without_prefix(found), others


def shards(index: Path) -> list[Path]:
    """The files that an index of tensors names."""
    names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    return [index.parent / Path(name).name for name in names]


def _tensors(content: Any) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    for key in INSIDE:
        if isinstance(content.get(key), Mapping):
            inner = _tensors(content[key])
            if inner:
                return inner
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefix that most names share; names without it are of other parts."""
    averaged = {n.removeprefix(AVERAGED): t for n, t in tensors.items() if n.startswith(AVERAGED)}
    if averaged:
        return averaged
    for prefix in PREFIXES:
        inside = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        if len(inside) > len(tensors) / 2:
            return _without_prefix(inside)
    return tensors


def _reason(error: Exception, path: Path) -> str:
    named = re.search(r"GLOBAL (\S+)", str(error))
    if isinstance(error, pickle.UnpicklingError) and named:
        return (
            f"{path.name} holds a Python object ({named[1].rstrip('.')}), which could run code when it is "
            "loaded; save the tensors alone: torch.save(model.state_dict(), path)"
        )
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"cannot be loaded, the file is damaged or no file of tensors: {first}"
