"""Transfer: pretrained tensors into a model, one by one."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from detr_diff.choices import Channels, ClassHead, Mismatch, Queries
from detr_diff.errors import PretrainedError
from detr_diff.model.block_map import BlockMap
from detr_diff.model.class_rows import ClassRows, match_classes
from detr_diff.model.families import BACKBONE, Family
from detr_diff.model.fitting import common_part, fit_channels, fit_rows, is_transposed, resampled
from detr_diff.model.initialisation import initialise
from detr_diff.model.naming import DERIVED, NamedTensor, Naming, by_key, in_order, key_of
from detr_diff.model.source import Source
from detr_diff.model.transfer_policy import TransferPolicy
from detr_diff.model.transfer_report import ARRIVED, Action, TransferredTensor

POSITIONS = "position_embedding."


@dataclass(frozen=True)
class Place:
    """A tensor of the model, under its first name when it is tied to others.

    Attributes:
        name: In the model.
        key: Its name in every naming, see naming.py.
        block: The block that it belongs to.
        tensor: The parameter or buffer itself.
    """

    name: str
    key: str
    block: str
    tensor: Tensor


@dataclass(frozen=True)
class Transferred:
    """What a transfer did; the fields of TransferReport."""

    tensors: tuple[TransferredTensor, ...]
    unused: dict[str, tuple[int, ...]]
    rows: ClassRows | None


def places(detr: Any, kind: Family) -> Iterator[Place]:
    """Every tensor of a model that is learnt, or was gathered in learning, once.

    Raises:
        ValueError: A tensor that no block covers.
    """
    blocks = BlockMap(detr, kind)
    seen: set[int] = set()
    for name, tensor in detr.state_dict(keep_vars=True).items():
        if DERIVED.search(name) or id(tensor) in seen:
            continue
        seen.add(id(tensor))
        block = blocks.of(name)
        if block is None:
            raise ValueError(f"tensor {name} belongs to no block of {kind.model}")
        yield Place(name, key_of(name, tensor), block, tensor)


class Transfer:
    """Brings the tensors of a source into a model.

    Args:
        detr: The model; changed in place.
        kind: Its family.
        names: Names of the rows of its class head.
        source: Where the tensors come from; None leaves the model as it starts.
        policy: What is taken and how it is made to fit.
        bases: For each of them the class that it is a part of, see match_classes().
    """

    def __init__(
        self,
        detr: Any,
        kind: Family,
        names: Sequence[str],
        source: Source | None,
        policy: TransferPolicy,
        bases: Sequence[str] | None = None,
    ) -> None:
        self.kind = kind
        self.names, self.bases = tuple(names), bases
        self.source = source
        self.policy = policy
        self.channels = detr.config.backbone_config.num_channels
        self.places = list(places(detr, kind))
        if len({place.key for place in self.places}) < len(self.places):
            raise ValueError(f"two tensors of {kind.model} have the same name in every naming")
        self.found = self._found()
        self.rows = self._rows()

    @torch.no_grad()
    def run(self) -> Transferred:
        """Take what fits, initialise the rest, and compare the model with the source."""
        reports = []
        taken: set[str] = set()
        for place in self.places:
            part = self._part(place)
            report, value = self._take(place, part)
            if part is not None and report.action in ARRIVED:
                taken.add(part.name)
            if value is not None:
                place.tensor.copy_(value)
            elif report.action not in ARRIVED:
                initialise(place.tensor, self.policy.init)
            reports.append((place, part, report))
        # In a second turn: only now nothing can change a tensor any more.
        compared = tuple(self._compared(place, part, report) for place, part, report in reports)
        unused = {
            part.name: tuple(part.value.shape)
            for parts in self.found.values()
            for part in parts[:1]
            if part.name not in taken
        }
        return Transferred(compared, unused, self.rows)

    def _found(self) -> Mapping[str, list[NamedTensor]]:
        if self.source is None:
            return {}
        if self.source.naming is Naming.torchvision:
            backbone = [(p.key, p.tensor) for p in self.places if p.key.startswith(BACKBONE)]
            return in_order(self.source.tensors, backbone)
        return by_key(self.source.tensors, self.source.naming)

    def _part(self, place: Place) -> NamedTensor | None:
        parts = self.found.get(place.key, [])
        return next((part for part in parts if part.name == place.name), parts[0] if parts else None)

    def _rows(self) -> ClassRows | None:
        if self.source is None or self.policy.class_head is ClassHead.fresh:
            return None
        for place in self.places:
            part = self._part(place)
            if part is not None and self._is_class_row(place):
                extra = len(place.tensor) - len(self.names)
                return match_classes(
                    self.names,
                    self.source.classes,
                    len(part.value) - extra,
                    given=self.policy.class_names,
                    synonyms=self.policy.synonyms,
                    bases=self.bases,
                )
        return None

    def _is_class_row(self, place: Place) -> bool:
        return re.fullmatch(self.kind.class_rows, place.name) is not None

    def _take(self, place: Place, part: NamedTensor | None) -> tuple[TransferredTensor, Tensor | None]:
        """What is to be done with a place, and its new value."""
        report = TransferredTensor(place.name, place.block, tuple(place.tensor.shape), Action.random)
        if self.source is None:
            return report, None
        if part is not None:
            report = replace(report, source=part.name, source_shape=tuple(part.value.shape))
        if place.block not in self.policy.only:
            return replace(report, action=Action.unasked), None
        if part is None:
            return replace(report, action=Action.absent), None
        value = self._sound(part, place)
        if self._is_class_row(place) and not self._same_classes(place, value):
            return self._class_rows(report, place, value)
        if value.shape == place.tensor.shape:
            return replace(report, action=Action.copied), value
        action, fitted, note = self._fitted(place, value)
        return replace(report, action=action, note=note), fitted

    def _same_classes(self, place: Place, value: Tensor) -> bool:
        same = self.rows is not None and self.rows.rows == tuple(range(len(self.rows.theirs)))
        return same and value.shape == place.tensor.shape

    def _class_rows(
        self, report: TransferredTensor, place: Place, value: Tensor
    ) -> tuple[TransferredTensor, Tensor | None]:
        if self.policy.class_head is ClassHead.fresh:
            return replace(report, action=Action.unasked), None
        if self.rows is None:
            note = "the source does not say its classes; give model.transfer.class_names"
            return replace(report, action=Action.no_class, note=note), None
        fitted = self.rows.fit(value, place.tensor)
        if fitted is None:
            action = Action.other_shape if self.rows.wanted else Action.no_class
            return replace(report, action=action), None
        return replace(report, action=Action.classes), fitted

    def _fitted(self, place: Place, value: Tensor) -> tuple[Action, Tensor | None, str]:
        """A value of another shape made to fit."""
        target, policy = place.tensor, self.policy
        if is_transposed(value.shape, target.shape):
            raise PretrainedError(
                f"model.pretrained={self._where}: {place.name} is {list(target.shape)}, but "
                f"{list(value.shape)} in the source: it is transposed there"
            )
        if value.ndim != target.ndim:
            return Action.other_shape, None, ""
        other = [dim for dim in range(target.ndim) if value.shape[dim] != target.shape[dim]]
        if place.block == "stem" and target.ndim == 4 and other == [1] and target.shape[1] == self.channels:
            if policy.channels is Channels.skip:
                return Action.other_shape, None, "model.transfer.channels=skip"
            return Action.channels, fit_channels(value, self.channels, policy.channels), policy.channels
        if re.fullmatch(self.kind.query_rows, place.name) and other == [0]:
            if policy.queries is Queries.skip:
                return Action.other_shape, None, "model.transfer.queries=skip"
            note = "the first ones" if len(value) > len(target) else "again and again"
            return Action.queries, fit_rows(value, len(target)), note
        if policy.mismatch is Mismatch.slice:
            return Action.sliced, common_part(value, target), ""
        if policy.mismatch is Mismatch.interpolate:
            resized = resampled(value, target.shape) if target.ndim == 4 or POSITIONS in place.name else None
            if resized is not None:
                return Action.interpolated, resized, ""
        return Action.other_shape, None, ""

    @property
    def _where(self) -> str:
        return "" if self.source is None else self.source.place

    def _sound(self, part: NamedTensor, place: Place) -> Tensor:
        """The source's value in the type of the model's.

        Raises:
            PretrainedError: It is no value that a network can have.
        """
        where = f"model.pretrained={self._where}: {part.name}"
        value = part.value
        if not value.is_floating_point():
            raise PretrainedError(f"{where} is damaged: it holds {value.dtype}, not floating-point numbers")
        wrong = int((~value.isfinite()).sum())
        if wrong:
            raise PretrainedError(f"{where} is damaged: {wrong} of its {value.numel()} values are not finite")
        if part.name.endswith("running_var") and (value < 0).any():
            raise PretrainedError(f"{where} is damaged: a variance is negative")
        return value.to(place.tensor.dtype)

    def _compared(
        self, place: Place, part: NamedTensor | None, report: TransferredTensor
    ) -> TransferredTensor:
        if part is None or report.action not in (Action.copied, Action.classes):
            return report
        value = part.value.to(place.tensor.dtype)
        if report.action is Action.copied:
            return replace(report, equal=torch.equal(place.tensor, value))
        assert self.rows is not None
        return replace(report, equal=self.rows.arrived(value, place.tensor))
