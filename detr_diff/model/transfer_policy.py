"""What is taken from a source and how it is made to fit."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from detr_diff.choices import BatchNorm, Channels, ClassHead, Init, Mismatch, Queries
from detr_diff.errors import SettingError, nearest
from detr_diff.model.block_names import BLOCKS, expand

WHERE = "model.transfer"


@dataclass(frozen=True)
class TransferPolicy:
    """What is taken from a source and how it is made to fit.

    Attributes:
        only: The blocks that are taken.
        mismatch: What to do with a tensor of another shape.
        channels: What to do with a stem for another number of input channels.
        queries: What to do with another number of queries.
        class_head: Whether the class head starts from the rows for classes of the same name.
        class_names: Class names of the source, when it does not say them.
        synonyms: Our class name to the source's.
        init: How the weights start that come from no source.
        require: The share of the backbone's tensors that must arrive, of those that `only` asks for.
        batch_norm: Whether the batch norm of the backbone is frozen.
        probe: Whether the features of both backbones are compared.
    """

    only: tuple[str, ...] = BLOCKS
    mismatch: Mismatch = Mismatch.skip
    channels: Channels = Channels.repeat
    queries: Queries = Queries.fit
    class_head: ClassHead = ClassHead.names
    class_names: tuple[str, ...] | None = None
    synonyms: Mapping[str, str] = field(default_factory=dict)
    init: Init = Init.default
    require: float = 0.95
    batch_norm: BatchNorm = BatchNorm.auto
    probe: bool = True

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "TransferPolicy":
        """From the words of a configuration.

        Raises:
            SettingError: A word that is not allowed, or an unknown block.
        """
        known = [field.name for field in fields(cls)]
        for name in settings:
            if name not in known:
                raise SettingError(f"{WHERE}.{name}: unknown, {nearest(name, known)}")
        chosen: dict[str, Any] = dict(settings)
        only = chosen.pop("only", None)
        if only is not None:
            chosen["only"] = expand([only] if isinstance(only, str) else list(only), f"{WHERE}.only")
            if not chosen["only"]:
                raise SettingError(f"{WHERE}.only=[]: no block is taken; null takes all")
        if chosen.get("class_names") is not None:
            chosen["class_names"] = tuple(chosen["class_names"])
        words: dict[str, type[StrEnum]] = {
            "mismatch": Mismatch,
            "channels": Channels,
            "queries": Queries,
            "class_head": ClassHead,
            "init": Init,
            "batch_norm": BatchNorm,
        }
        for name, kind in words.items():
            if name in chosen:
                if chosen[name] not in list(kind):
                    raise SettingError(f"{WHERE}.{name}={chosen[name]}: {nearest(str(chosen[name]), kind)}")
                chosen[name] = kind(chosen[name])
        policy = cls(**chosen)
        if not 0.0 <= policy.require <= 1.0:
            raise SettingError(f"{WHERE}.require={policy.require}: a share from 0 to 1")
        return policy

    @property
    def backbone_only(self) -> bool:
        """Whether nothing above the backbone is taken."""
        return set(self.only) <= set(expand(["backbone"], WHERE))
