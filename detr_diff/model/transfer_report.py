"""TransferReport: what became of every tensor of a model and of its source."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from rich.table import Table

from detr_diff.model.block_names import ALIASES, BLOCKS


class Action(StrEnum):
    """What was done with a tensor of the model.

    copied, sliced, interpolated: from the source; channels: the source's stem for other channels;
    queries: the source's for another number; classes: the source's rows for our classes; other
    shape, not in source, not asked for: it has its own start; random: there is no source.
    """

    copied = "copied"
    channels = "channels"
    queries = "queries"
    classes = "classes"
    sliced = "sliced"
    interpolated = "interpolated"
    other_shape = "other shape"
    no_class = "no class"
    absent = "not in source"
    unasked = "not asked for"
    random = "random"


ARRIVED = (
    Action.copied,
    Action.channels,
    Action.queries,
    Action.classes,
    Action.sliced,
    Action.interpolated,
)

# Features are the source's up to this share of the largest of them; rounding stays far below.
ALIKE = 1e-3


@dataclass(frozen=True)
class TransferredTensor:
    """What became of one tensor of the model.

    Attributes:
        name: In the model.
        block: The block that it belongs to.
        shape: In the model.
        action: What was done.
        source: Its name in the source, and its shape there; None when it is not there.
        equal: Whether the model's value is now the source's bit for bit; of the class head, whether
            the rows of our classes are. None when nothing was taken unchanged.
        note: More about it.
    """

    name: str
    block: str
    shape: tuple[int, ...]
    action: Action
    source: str | None = None
    source_shape: tuple[int, ...] | None = None
    equal: bool | None = None
    note: str = ""


@dataclass(frozen=True)
class ProbedLevel:
    """One level of the backbone's features of a probe image, the model's against the source's.

    Attributes:
        stride: Pixels of the image for each feature.
        cosine: Of the angle between the two.
        difference: The largest.
        size: The largest feature of the source.
    """

    stride: int
    cosine: float
    difference: float
    size: float


@dataclass(frozen=True)
class Probe:
    """The comparison of two backbones by their features; levels are empty where it was not made."""

    levels: tuple[ProbedLevel, ...] = ()
    reason: str = ""

    @property
    def worst(self) -> ProbedLevel:
        """The level that differs most for its size."""
        return max(self.levels, key=lambda level: level.difference / (level.size or 1.0))

    @property
    def alike(self) -> bool:
        """Whether the features are the same up to rounding."""
        return self.worst.difference <= ALIKE * self.worst.size


@dataclass(frozen=True)
class TransferReport:
    """What became of every tensor.

    Attributes:
        source: Where the weights came from.
        naming: Whose names they had.
        tensors: Those of the model.
        unused: Name and shape of the source's tensors that were not taken.
        classes: Our class to the source's class whose row it starts from; None when unknown.
        classes_said_by: What says the classes of the source.
        live_batch_norm: Whether the batch norm of the backbone learns.
        probe: The comparison of the backbones' features.
    """

    source: str
    naming: str
    tensors: Sequence[TransferredTensor]
    unused: Mapping[str, tuple[int, ...]]
    classes: Mapping[str, str | None] | None
    classes_said_by: str
    live_batch_norm: bool = False
    probe: Probe = Probe()

    def counts(self) -> dict[str, dict[str, int]]:
        """Block to action to number of tensors."""
        table: dict[str, dict[str, int]] = {}
        for tensor in self.tensors:
            row = table.setdefault(tensor.block, {})
            row[tensor.action] = row.get(tensor.action, 0) + 1
        return {block: table[block] for block in BLOCKS if block in table}

    def backbone_share(self) -> float | None:
        """The share of the backbone's tensors that arrived; None when none was asked for."""
        return share([tensor for tensor in self.tensors if tensor.block in ALIASES["backbone"]])

    def table(self) -> Table:
        """The number of tensors by block and action, and how many equal the source bit for bit."""
        counts = self.counts()
        used = [action for action in Action if any(action in row for row in counts.values())]
        table = Table("block", *used, "bit for bit", title=f"tensors from {self.source}")
        for block, row in counts.items():
            equal = sum(bool(tensor.equal) for tensor in self.tensors if tensor.block == block)
            table.add_row(block, *(str(row.get(action, "")) for action in used), str(equal or ""))
        return table

    def lines(self) -> Iterator[str]:
        """What the table does not say, for the log."""
        if self.naming:
            yield f"  the source has the names of {self.naming}"
        same = {block: next(iter(row)) for block, row in self.counts().items() if len(row) == 1}
        for block, action in same.items():
            if action not in (*ARRIVED, Action.random):
                notes = {f" ({t.note})" for t in self.tensors if t.block == block and t.note}
                yield f"  {block}: {action}{''.join(sorted(notes))}"
        for tensor in self.tensors:
            if tensor.action is Action.copied or same.get(tensor.block, Action.copied) not in ARRIVED:
                continue
            shapes = f" {list(tensor.source_shape)} for" if tensor.source_shape is not None else ""
            note = f" ({tensor.note})" if tensor.note else ""
            yield f"  {tensor.name}: {tensor.action},{shapes} {list(tensor.shape)}{note}"
        if self.classes is not None:
            pairs = ", ".join(f"{ours} from {theirs}" for ours, theirs in self.classes.items() if theirs)
            fresh = ", ".join(ours for ours, theirs in self.classes.items() if theirs is None)
            yield f"  class rows by name (the names are from {self.classes_said_by}): {pairs or 'none'}" + (
                f"; fresh: {fresh}" if fresh else ""
            )
        if self.unused:
            first = ", ".join(list(self.unused)[:4]) + (", ..." if len(self.unused) > 4 else "")
            yield f"  not taken from the source: {len(self.unused)} tensors ({first})"
        if self.probe.levels:
            level = self.probe.worst
            yield (
                f"  backbone features of a probe image: cosine with the source's {level.cosine:.6f}, "
                f"largest difference {level.difference:.2g} in features up to {level.size:.2g}"
            )
        elif self.probe.reason:
            yield f"  backbone features were not compared: {self.probe.reason}"

    @property
    def warning(self) -> str | None:
        """What is wrong with the backbone although most or all of it arrived."""
        backbone = [tensor for tensor in self.tensors if tensor.block in ALIASES["backbone"]]
        whole = all(tensor.action is not Action.unasked for tensor in backbone)
        if not whole or not self.probe.levels or self.probe.alike:
            return None
        lost = sum(tensor.action not in ARRIVED for tensor in backbone)
        reason = (
            f"{lost} of its {len(backbone)} tensors did not arrive"
            if lost
            else "its tensors arrived, so look at the normalisation of images (model.processor), at where "
            "the strides are, and at the batch norm"
        )
        worst = self.probe.worst
        return (
            f"the backbone's features are not the source's (cosine {worst.cosine:.4f}, largest difference "
            f"{worst.difference:.2g} in features up to {worst.size:.2g}): {reason}"
        )

    def summary(self) -> dict[str, Any]:
        """The counts and the probe as primitives."""
        return {
            "source": self.source,
            "naming": self.naming,
            "backbone_share": self.backbone_share(),
            "bit_for_bit": sum(bool(tensor.equal) for tensor in self.tensors),
            "live_batch_norm": self.live_batch_norm,
            "blocks": self.counts(),
            "classes": None if self.classes is None else dict(self.classes),
            "classes_said_by": self.classes_said_by,
            "probe": asdict(self.probe),
        }

    def rows(self) -> dict[str, Any]:
        """All of it as primitives."""
        tensors = [asdict(tensor) | {"action": str(tensor.action)} for tensor in self.tensors]
        return {**self.summary(), "tensors": tensors, "unused": {k: list(v) for k, v in self.unused.items()}}


def share(tensors: Sequence[TransferredTensor]) -> float | None:
    """The share of the tensors that arrived; None of none."""
    if not tensors:
        return None
    return sum(tensor.action in ARRIVED for tensor in tensors) / len(tensors)
