"""Architecture: everything needed to build the same model again."""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from detr_diff.errors import SettingError, nearest
from detr_diff.model.auxiliary_outputs import mend_auxiliary_outputs
from detr_diff.model.batch_norm import restore_batch_norm
from detr_diff.model.families import Family, family
from detr_diff.model.feature_diff import FeatureDiff, compare_features, with_feature_diff
from detr_diff.model.modification import Modification
from detr_diff.model.place_labels import class_names

transformers_logging.set_verbosity_error()  # TransferReport says it in our words
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
        feature_diff: How features are compared; None when the input is one image.
        modification: What is changed of the family's model, the fields of Modification.
        places: Whether the model tells old places from new ones, see place_labels.py.
    """

    family: str
    config: dict[str, Any]
    processor: dict[str, Any]
    live_batch_norm: bool
    feature_diff: FeatureDiff | None = None
    modification: dict[str, Any] = field(default_factory=dict)
    places: bool = False

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Architecture":
        """From what `settings` returned."""
        feature_diff = settings.get("feature_diff")
        return cls(**{**settings, "feature_diff": feature_diff and FeatureDiff.from_settings(feature_diff)})

    def settings(self) -> dict[str, Any]:
        """Primitives, for a checkpoint."""
        feature_diff = self.feature_diff and self.feature_diff.settings()
        return {**vars(self), "feature_diff": feature_diff}

    @property
    def kind(self) -> Family:
        """The family, as it is when features are compared if they are."""
        own = family(self.family)
        return own if self.feature_diff is None else with_feature_diff(own)

    @property
    def names(self) -> list[str]:
        """Class names in the order of their index."""
        return class_names(self.row_names) if self.places else self.row_names

    @property
    def row_names(self) -> list[str]:
        """Names of the rows of the class head; the class names, unless places are told apart."""
        id2label = self.config["id2label"]
        return [id2label[key] for key in sorted(id2label, key=int)]

    @property
    def num_queries(self) -> int:
        """How many objects the model can find in an image."""
        if self.config.get("two_stage"):
            return int(self.config["two_stage_num_proposals"])
        return int(self.config["num_queries"])

    def with_batch_norm(self, live: bool) -> "Architecture":
        """The same with live or frozen batch norm in the backbone."""
        setting = family(self.family).frozen_batch_norm
        config = self.config if setting is None else {**self.config, setting: not live}
        return replace(self, config=config, live_batch_norm=live)


def configure(
    kind: Family,
    names: Sequence[str],
    settings: Mapping[str, Any],
    stored: Mapping[str, Any] | None,
    channels: int,
) -> Any:
    """The transformers configuration of a model.

    Args:
        kind: The family.
        names: Class names.
        settings: What the user says; `backbone` names a timm backbone.
        stored: What came with pretrained weights.
        channels: Channels of the input image.

    Raises:
        SettingError: An unknown setting, or settings that do not fit together.
    """
    settings = dict(settings)
    _known_settings(kind, settings)
    if settings.get("backbone") is not None:
        from detr_diff.model.timm_backbone import timm_settings

        merged = {**(stored or {}), **settings}
        settings["backbone_config"] = timm_settings(
            kind,
            settings.pop("backbone"),
            single_level=merged.get("num_feature_levels") == 1,
            dilation=bool(merged.get("dilation", False)),
        )
    settings["id2label"] = dict(enumerate(names))
    settings["label2id"] = {name: index for index, name in enumerate(names)}
    if stored is None:
        configuration = build(kind.config_class, **settings)
    else:
        configuration = build(kind.config_class.from_dict, {**stored, **settings})
    backbone = configuration.backbone_config
    for config in (configuration, backbone):
        if hasattr(config, "num_channels"):
            config.num_channels = channels
    if hasattr(backbone, "stem_channels"):
        backbone.stem_channels = [channels, *backbone.stem_channels[1:]]
    return configuration


def to_architecture(
    name: str,
    configuration: Any,
    processor: Any,
    feature_diff: FeatureDiff | None,
    modification: Modification,
    places: bool = False,
) -> Architecture:
    """The architecture of a configuration and an image processor, with frozen batch norm."""
    return Architecture(
        name,
        json.loads(configuration.to_json_string(use_diff=False)),
        json.loads(processor.to_json_string()),
        live_batch_norm=False,
        feature_diff=feature_diff,
        modification=modification.settings(),
        places=places,
    ).with_batch_norm(live=False)


def build_model(architecture: Architecture) -> PreTrainedModel:
    """The model of that architecture with random weights."""
    kind = family(architecture.family)
    configuration = kind.config_class.from_dict(copy.deepcopy(architecture.config))
    model: PreTrainedModel = build(kind.model_class, configuration)
    mend_auxiliary_outputs(model)
    restore_batch_norm(model, architecture.live_batch_norm)
    if architecture.feature_diff is not None:
        compare_features(model, kind, architecture.feature_diff)
    Modification.from_settings(architecture.modification).apply(model)
    return model.train()


def build_processor(architecture: Architecture) -> Any:
    """The image processor of that architecture."""
    return family(architecture.family).processor_class(**copy.deepcopy(architecture.processor))


def configure_processor(kind: Family, settings: Mapping[str, Any], stored: Mapping[str, Any] | None) -> Any:
    """The image processor of a model.

    Args:
        kind: The family.
        settings: What the user says.
        stored: What came with pretrained weights.

    Raises:
        SettingError: An unknown setting, or a size that the family cannot take.
    """
    # `batched` pads, see data/pixels.py: only a batch can be padded.
    fixed = {**settings, "do_pad": False}
    known = kind.processor_class().to_dict()
    for name in fixed:
        if name not in known:
            raise SettingError(f"model.processor.{name}: unknown, {nearest(name, known)}")
    processor = kind.processor_class.from_dict({**(stored or {}), **fixed})
    if kind.multiple_of > 1 and processor.do_resize:
        for side in ("height", "width"):
            value = processor.size.get(side)
            if value is None:
                raise SettingError(
                    f"model.processor.size: {kind.model} takes images of one size; give height and width"
                )
            if value % kind.multiple_of:
                raise SettingError(
                    f"model.processor.size.{side}={value}: must be a multiple of {kind.multiple_of}"
                )
    return processor


def build(make: Any, *arguments: Any, **settings: Any) -> Any:
    """Build a configuration or a model; settings that do not fit together are the user's."""
    try:
        return make(*copy.deepcopy(arguments), **copy.deepcopy(settings))
    except (ValueError, TypeError, RuntimeError, KeyError, AssertionError, AttributeError) as error:
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        name = getattr(make, "__qualname__", str(make)).removesuffix(".from_dict")
        raise SettingError(f"model.config: {name} cannot be built: {reason}") from error


def _known_settings(kind: Family, settings: Mapping[str, Any]) -> None:
    known = kind.config_class().to_dict()
    for name in settings:
        # A timm backbone may also be chosen by name.
        if name not in known and name != "backbone":
            raise SettingError(f"model.config.{name}: unknown, {nearest(name, [*known, 'backbone'])}")
