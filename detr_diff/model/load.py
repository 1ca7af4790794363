"""load_model(): a DETR for our classes, pretrained or from a configuration."""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants, get_session
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel
from transformers.models.detr.modeling_detr import DetrFrozenBatchNorm2d
from transformers.utils import logging as transformers_logging

from detr_diff.errors import SettingError, nearest
from detr_diff.model.blocks import block_of
from detr_diff.model.families import BLOCKS, Family, family

transformers_logging.set_verbosity_error()  # LoadReport says it in our words
transformers_logging.disable_progress_bar()


@dataclass(frozen=True)
class Architecture:
    """Everything needed to build the same model again, as primitives.

    Attributes:
        family: Name in FAMILIES.
        config: The transformers configuration, class names included.
        processor: The settings of the image processor.
        live_batch_norm: Whether the batch norm of the backbone learns. It must when the
            backbone starts from random weights and must not when it is pretrained: batches
            are small.
    """

    family: str
    config: dict[str, Any]
    processor: dict[str, Any]
    live_batch_norm: bool

    @property
    def names(self) -> list[str]:
        """Class names in the order of their index."""
        id2label = self.config["id2label"]
        return [id2label[key] for key in sorted(id2label, key=int)]


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor of a model.

    Attributes:
        source: Where the weights came from.
        status: Tensor name to loaded, re-initialised (other shape), missing (not in the source)
            or unexpected (only in the source).
        blocks: Tensor name to block.
    """

    source: str
    status: dict[str, str]
    blocks: dict[str, str]

    def counts(self) -> dict[str, dict[str, int]]:
        """Block to status to number of tensors."""
        table: dict[str, dict[str, int]] = {}
        for name, status in self.status.items():
            row = table.setdefault(self.blocks[name], {})
            row[status] = row.get(status, 0) + 1
        return {block: table[block] for block in (*BLOCKS, "other") if block in table}


def load_model(
    family_name: str,
    names: Sequence[str],
    *,
    pretrained: str | None = None,
    config: Mapping[str, Any] | None = None,
    processor: Mapping[str, Any] | None = None,
    channels: int = 3,
) -> tuple[PreTrainedModel, Architecture, LoadReport]:
    """A model whose head fits our classes.

    Args:
        family_name: detr or rt_detr.
        names: Class names.
        pretrained: A hub id or a folder made by `save_pretrained`; None for random weights.
        config: Settings of the family's transformers configuration.
        processor: Settings of the family's image processor.
        channels: Channels of the input image.

    Returns:
        The model in training mode, how to build it again, and what was loaded.

    Raises:
        SettingError: An unknown family or setting, or weights that cannot be had.
    """
    kind = family(family_name)
    settings = dict(config or {})
    _known_settings(kind, settings)
    settings["id2label"] = dict(enumerate(names))
    settings["label2id"] = {name: index for index, name in enumerate(names)}
    if pretrained is None:
        configuration = _try(kind.config_class, **settings)
    else:
        configuration = _stored_configuration(kind, pretrained, settings)
    if hasattr(configuration, "num_channels"):
        configuration.num_channels = channels
    configuration.backbone_config.num_channels = channels
    live = pretrained is None
    if hasattr(configuration, "freeze_backbone_batch_norms"):
        configuration.freeze_backbone_batch_norms = not live

    architecture = Architecture(
        family_name,
        json.loads(configuration.to_json_string(use_diff=False)),
        json.loads(_processor(kind, pretrained, processor or {}).to_json_string()),
        live,
    )
    if pretrained is None:
        model = build_model(architecture)
        status = dict.fromkeys(model.state_dict(), "random")
    else:
        model, info = _fetch(
            kind.model_class.from_pretrained,
            pretrained,
            config=configuration,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        mismatched = {key[0] for key in info["mismatched_keys"]}
        status = {
            name: "re-initialised"
            if name in mismatched
            else "missing"
            if name in info["missing_keys"]
            else "loaded"
            for name in model.state_dict()
        } | dict.fromkeys(sorted(info["unexpected_keys"]), "unexpected")
    blocks = {name: block_of(kind, name) or "other" for name in status}
    return model.train(), architecture, LoadReport(pretrained or "random weights", status, blocks)


def build_model(architecture: Architecture) -> PreTrainedModel:
    """The model of that architecture with random weights."""
    kind = family(architecture.family)
    configuration = kind.config_class.from_dict(copy.deepcopy(architecture.config))
    model: PreTrainedModel = _try(kind.model_class, configuration)
    if architecture.live_batch_norm:
        _thaw_batch_norm(model)
    return model.train()


def build_processor(architecture: Architecture) -> Any:
    """The image processor of that architecture."""
    return family(architecture.family).processor_class(**copy.deepcopy(architecture.processor))


def _try(build: Any, *arguments: Any, **settings: Any) -> Any:
    """Build a configuration or a model; settings that do not fit together are the user's."""
    try:
        return build(*arguments, **copy.deepcopy(settings))
    except (ValueError, TypeError, RuntimeError, KeyError, AssertionError) as error:
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        raise SettingError(f"model.config: {build.__name__} cannot be built: {reason}") from error


def _known_settings(kind: Family, settings: Mapping[str, Any]) -> None:
    known = kind.config_class().to_dict()
    # A timm backbone may also be chosen by name, a shorthand that transformers understands.
    for name in settings:
        if name not in known and name != "backbone":
            raise SettingError(f"model.config.{name}: unknown, {nearest(name, known)}")


def _stored_configuration(kind: Family, source: str, settings: Mapping[str, Any]) -> Any:
    """The configuration that came with the weights, with our settings over it."""
    stored, _ = _fetch(kind.config_class.get_config_dict, source)
    if stored.get("model_type") != kind.config_class.model_type:
        raise SettingError(
            f"model.pretrained={source}: holds {stored.get('model_type')}, not {kind.config_class.model_type}"
        )
    # With these, which older files have, transformers asks the hub for a backbone. Its weights
    # are in the file.
    for key in ("backbone_kwargs", "use_pretrained_backbone", "num_labels"):
        stored.pop(key, None)
    return kind.config_class.from_dict({**stored, **settings})


def _processor(kind: Family, pretrained: str | None, settings: Mapping[str, Any]) -> Any:
    # Our collate pads a batch, and only a batch can be padded.
    fixed = {**settings, "do_pad": False}
    if pretrained is None or (
        Path(pretrained).is_dir() and not (Path(pretrained) / "preprocessor_config.json").exists()
    ):
        processor = kind.processor_class(**fixed)
    else:
        processor = _fetch(kind.processor_class.from_pretrained, pretrained, **fixed)
    size = processor.size
    for side in ("height", "width"):
        if side in size and size[side] % kind.multiple_of:
            raise SettingError(
                f"model.processor.size.{side}={size[side]}: must be a multiple of {kind.multiple_of}"
            )
    return processor


def _fetch(load: Any, source: str, **settings: Any) -> Any:
    """Load from a folder or the cache without the network, else from the hub."""
    local = Path(source).is_dir()
    if not local and (source.count("/") != 1 or source.startswith((".", "/", "~"))):
        raise SettingError(f"model.pretrained={source}: no such folder, and not a hub id (owner/name)")
    try:
        try:
            return load(source, local_files_only=True, **settings)
        except OSError:
            if local:
                raise
        _reach_hub()
        return load(source, **settings)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0]
        raise SettingError(f"model.pretrained={source}: cannot be loaded: {first}") from error


def _reach_hub() -> None:
    """One quick question, because the hub's client tries for half a minute before it gives up."""
    try:
        get_session().head(constants.ENDPOINT, timeout=10)
    except Exception as error:
        message = f"it is not in the local cache, and {constants.ENDPOINT} cannot be reached"
        raise OSError(message) from error


def _thaw_batch_norm(module: nn.Module) -> None:
    """Replace the frozen batch norm of DETR's backbone, which normalises nothing when its
    statistics come from no training, by one that learns."""
    for name, child in module.named_children():
        if isinstance(child, DetrFrozenBatchNorm2d):
            live = nn.BatchNorm2d(len(child.weight))
            live.load_state_dict(child.state_dict(), strict=False)
            with torch.no_grad():
                live.weight.copy_(child.weight)
            setattr(module, name, live)
        else:
            _thaw_batch_norm(child)
