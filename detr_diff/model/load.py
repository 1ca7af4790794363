"""load_model(): a DETR for our classes, pretrained or from a configuration."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from transformers import PreTrainedModel

from detr_diff.choices import PLACES, BatchNorm
from detr_diff.errors import PretrainedError
from detr_diff.model.architecture import (
    Architecture,
    build_model,
    build_processor,
    configure,
    configure_processor,
    to_architecture,
)
from detr_diff.model.backbone import require_fit
from detr_diff.model.batch_norm import restore_batch_norm
from detr_diff.model.block_names import ALIASES
from detr_diff.model.families import family
from detr_diff.model.feature_diff import FeatureDiff, require_feature_diff
from detr_diff.model.modification import Modification
from detr_diff.model.naming import Naming
from detr_diff.model.place_labels import row_names
from detr_diff.model.probe import probe
from detr_diff.model.source import Source, open_source
from detr_diff.model.transfer import Transfer
from detr_diff.model.transfer_policy import WHERE, TransferPolicy
from detr_diff.model.transfer_report import ARRIVED, TransferredTensor, TransferReport, share

log = logging.getLogger(__name__)

WHOLE = (Naming.transformers, Naming.transformers_older, Naming.facebook)
# A backbone is pretrained, and its batch norm frozen, when so much of it arrived.
PRETRAINED = 0.95
# Older files have these: with the first two transformers asks the hub for a backbone, whose weights
# are in the file; the third contradicts the class names.
OBSOLETE = ("backbone_kwargs", "use_pretrained_backbone", "num_labels")


def load_model(
    family_name: str,
    names: Sequence[str],
    *,
    pretrained: str | None = None,
    config: Mapping[str, Any] | None = None,
    processor: Mapping[str, Any] | None = None,
    channels: int = 3,
    feature_diff: FeatureDiff | None = None,
    transfer: Mapping[str, Any] | None = None,
    modification: Mapping[str, Any] | None = None,
    places: bool = False,
) -> tuple[PreTrainedModel, Architecture, TransferReport]:
    """A model whose head fits our classes.

    Args:
        family_name: Name in FAMILIES.
        names: Class names.
        pretrained: A source, see open_source(); None for random weights.
        config: Settings of the family's transformers configuration.
        processor: Settings of the family's image processor.
        channels: Channels of the input image.
        feature_diff: How features are compared, when the input is both frames.
        transfer: The fields of TransferPolicy.
        modification: The fields of Modification.
        places: Whether the model tells old places from new ones, see place_labels.py.

    Returns:
        The model in training mode, how to build it again, and what became of every tensor.

    Raises:
        SettingError: An unknown family or setting, weights that cannot be had, or too little of a
            pretrained backbone that arrived.
    """
    kind = family(family_name)
    if feature_diff is not None:
        require_feature_diff(family_name)
    policy = TransferPolicy.from_settings(transfer or {})
    source = None if pretrained is None else open_source(pretrained)
    stored = stored_processor = None
    if source is not None and _same_family(family_name, source, policy):
        stored = {key: value for key, value in (source.config or {}).items() if key not in OBSOLETE}
        stored_processor = source.processor
    seen = channels if feature_diff is None else channels // 2  # by the backbone
    modified = Modification.from_settings(modification or {})
    rows = row_names(names) if places else list(names)
    configuration = configure(kind, rows, modified.config(kind, config or {}, stored), stored, seen)
    own_processor = configure_processor(kind, processor or {}, stored_processor)
    architecture = to_architecture(family_name, configuration, own_processor, feature_diff, modified, places)
    if architecture.config.get("two_stage"):
        log.warning(
            "model.config.two_stage=true: transformers gives the proposals no loss, so what picks them stays "
            "as it is; take it with pretrained weights only"
        )
    model = build_model(architecture)
    require_fit(model, channels)
    bases = len(PLACES) * list(names) if places else None
    transferred = Transfer(model, architecture.kind, rows, source, policy, bases).run()
    report = TransferReport(
        source="random weights" if source is None else source.place,
        naming="" if source is None else str(source.naming),
        tensors=transferred.tensors,
        unused=transferred.unused,
        classes=None if transferred.rows is None else transferred.rows.mapping(),
        classes_said_by="" if transferred.rows is None else transferred.rows.said_by,
    )
    if source is not None:
        _require(report, policy)
    if _live_batch_norm(report, policy):
        restore_batch_norm(model, live=True)
        architecture = architecture.with_batch_norm(live=True)
        report = replace(report, live_batch_norm=True)
    if source is not None and policy.probe and report.backbone_share():
        compared = probe(model, build_processor(architecture), source, policy.channels)
        report = replace(report, probe=compared)
    return model.train(), architecture, report


def _same_family(name: str, source: Source, policy: TransferPolicy) -> bool:
    """Whether the source's configuration is one for the family.

    Raises:
        PretrainedError: It is another model, and more than its backbone is asked for.
    """
    if source.family == name or policy.backbone_only or source.naming not in WHOLE:
        return source.family == name
    if source.family is None:
        return False
    raise PretrainedError(
        f"model.pretrained={source.place}: holds {source.family}, not {name}; "
        f"{WHERE}.only=backbone takes its backbone alone"
    )


def _require(report: TransferReport, policy: TransferPolicy) -> None:
    """Refuse a transfer of which too little arrived.

    Raises:
        PretrainedError: Nothing arrived, or less of the backbone than model.transfer.require.
    """
    place = f"model.pretrained={report.source}"
    if not any(tensor.action in ARRIVED for tensor in report.tensors):
        raise PretrainedError(f"{place}: none of its tensors ({report.naming}) fits the model")
    asked = [t for t in report.tensors if t.block in ALIASES["backbone"] and t.block in policy.only]
    lost = [tensor for tensor in asked if tensor.action not in ARRIVED]
    arrived = share(asked)
    if arrived is not None and arrived < policy.require:
        named = ", ".join(f"{t.name} ({t.action}{_shapes(t)})" for t in lost[:3])
        raise PretrainedError(
            f"{place}: {len(asked) - len(lost)} of the backbone's {len(asked)} tensors arrived, "
            f"{WHERE}.require={policy.require}; not: {named}{', ...' if len(lost) > 3 else ''}"
        )


def _shapes(tensor: TransferredTensor) -> str:
    if tensor.source_shape is None or tensor.source_shape == tensor.shape:
        return ""
    return f", {list(tensor.source_shape)} for {list(tensor.shape)}"


def _live_batch_norm(report: TransferReport, policy: TransferPolicy) -> bool:
    if policy.batch_norm is not BatchNorm.auto:
        return policy.batch_norm is BatchNorm.live
    return (report.backbone_share() or 0.0) < PRETRAINED
