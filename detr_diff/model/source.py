"""Source: pretrained tensors, wherever they come from, and what came with them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from detr_diff.errors import PretrainedError
from detr_diff.model.architecture import Architecture
from detr_diff.model.families import FAMILIES
from detr_diff.model.hub import CONFIG, PROCESSOR, WEIGHTS, fetch
from detr_diff.model.naming import Naming, detect
from detr_diff.model.tensor_file import read

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")


@dataclass(frozen=True)
class Source:
    """Pretrained tensors.

    Attributes:
        place: Where they are, as the setting says it.
        naming: Whose names they have.
        tensors: Name in the source to tensor, on the CPU.
        classes: Class names in the order of the head's rows; None when the source does not say.
        family: Name of the family, when the source says it.
        config: The transformers configuration that came with them.
        processor: The settings of the image processor that came with them.
        folder: A folder that transformers can load.
        architecture: When it is a checkpoint of ours.
    """

    place: str
    naming: Naming
    tensors: Mapping[str, Tensor]
    classes: tuple[str, ...] | None = None
    family: str | None = None
    config: Mapping[str, Any] | None = None
    processor: Mapping[str, Any] | None = None
    folder: Path | None = None
    architecture: Architecture | None = None


def open_source(place: str) -> Source:
    """Read pretrained tensors.

    Args:
        place: A hub id, a folder made by `save_pretrained`, a checkpoint of ours, or a file of
            tensors; the setting model.pretrained.

    Raises:
        PretrainedError: There is no such place, it is damaged, or its names are of no known naming.
    """
    setting = f"model.pretrained={place}"
    path = Path(place).expanduser()
    if path.is_file():
        return _open_file(place, path, setting)
    if path.is_dir():
        return _open_folder(place, path, setting)
    if path.suffix in SUFFIXES:
        raise PretrainedError(f"{setting}: no such file")
    if place.count("/") != 1 or place.startswith((".", "/", "~")):
        raise PretrainedError(f"{setting}: no such file or folder, and not a hub id (owner/name)")
    try:
        folder = fetch(place)
    except OSError as error:
        raise PretrainedError(f"{setting}: cannot be loaded: {str(error).strip().splitlines()[0]}") from error
    return _open_folder(place, folder, setting)


def _open_file(place: str, path: Path, setting: str) -> Source:
    tensors, others = read(path, setting)
    naming = _naming(tensors, setting)
    hyper = others.get("hyper_parameters")
    if not isinstance(hyper, Mapping) or "architecture" not in hyper:
        return Source(place, naming, tensors)
    ours = Architecture.from_settings(hyper["architecture"])
    return Source(
        place,
        naming,
        tensors,
        tuple(ours.row_names),
        ours.family,
        ours.config,
        ours.processor,
        architecture=ours,
    )


def _open_folder(place: str, folder: Path, setting: str) -> Source:
    weights = next((folder / name for name in WEIGHTS if (folder / name).exists()), None)
    if weights is None:
        raise PretrainedError(f"{setting}: no {' or '.join(WEIGHTS[::2])} in it")
    tensors, _ = read(weights, setting)
    naming = _naming(tensors, setting)
    config = _json(folder / CONFIG, setting)
    kinds = {family.config_class.model_type: name for name, family in FAMILIES.items()}
    if config is None or config.get("model_type") not in kinds:
        # Another model of transformers, or of timm: its tensors may be those of a backbone.
        return Source(place, naming, tensors, family=(config or {}).get("model_type"))
    return Source(
        place,
        naming,
        tensors,
        _classes(config),
        kinds[config["model_type"]],
        config,
        _json(folder / PROCESSOR, setting),
        folder,
    )


def _naming(tensors: Mapping[str, Tensor], setting: str) -> Naming:
    naming = detect(tensors)
    if naming is None:
        first = ", ".join(list(tensors)[:3])
        raise PretrainedError(
            f"{setting}: the names of its tensors ({first}, ...) are neither those of transformers, "
            "facebookresearch/detr, torchvision nor timm"
        )
    return naming


def _json(path: Path, setting: str) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PretrainedError(f"{setting}: {path.name} is damaged: {error}") from error
    return dict(content)


def _classes(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    id2label = config.get("id2label")
    if not id2label:
        return None
    names = tuple(str(id2label[key]) for key in sorted(id2label, key=int))
    # What transformers calls classes without names.
    return None if all(re.fullmatch(r"LABEL_\d+", name) for name in names) else names
