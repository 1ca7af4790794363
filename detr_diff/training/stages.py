"""Staged fine-tuning: which blocks learn, how fast, and for how long."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lightning import Callback, LightningModule, Trainer
from rich.table import Table

from detr_diff.choices import Schedule
from detr_diff.errors import SettingError, nearest
from detr_diff.model.blocks import parameters_by_block, set_learning
from detr_diff.model.families import expand
from detr_diff.text import render
from detr_diff.training.schedules import factor

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """Some epochs in which some blocks learn.

    Attributes:
        name: For people.
        epochs: How many.
        learn: The blocks that learn; aliases (all, backbone, transformer, heads) are understood.
        lr: Peak learning rate, one for all blocks or a map from block or alias to rate, in which
            later entries win.
        schedule: constant or cosine.
        cycles: Number of cosines in the stage.
        warmup: Share of the stage's steps in which the rate rises.
    """

    name: str
    epochs: int
    learn: tuple[str, ...] = ("all",)
    lr: float | Mapping[str, float] = 1e-4
    schedule: Schedule = Schedule.cosine
    cycles: int = 5
    warmup: float = 0.05
    rates: Mapping[str, float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        where = f"stages.{self.name}"
        if self.epochs < 1:
            raise SettingError(f"{where}.epochs={self.epochs}: at least 1")
        if self.cycles < 1:
            raise SettingError(f"{where}.cycles={self.cycles}: at least 1")
        if not 0.0 <= self.warmup < 1.0:
            raise SettingError(f"{where}.warmup={self.warmup}: a share of the stage, from 0 to below 1")
        if self.schedule not in list(Schedule):
            raise SettingError(f"{where}.schedule={self.schedule}: {nearest(self.schedule, Schedule)}")
        object.__setattr__(self, "schedule", Schedule(self.schedule))
        learn = expand(list(self.learn), f"{where}.learn")
        if not learn:
            raise SettingError(f"{where}.learn: no block learns")
        object.__setattr__(self, "learn", learn)
        rates = dict.fromkeys(learn, 0.0)
        given = self.lr if isinstance(self.lr, Mapping) else {"all": self.lr}
        for blocks, rate in given.items():
            if not isinstance(rate, int | float) or rate < 0:
                raise SettingError(f"{where}.lr.{blocks}={rate}: a number from 0")
            for block in expand([blocks], f"{where}.lr"):
                if block in rates:
                    rates[block] = float(rate)
        if not any(rates.values()):
            raise SettingError(f"{where}.lr={self.lr}: the rate of every learning block is 0")
        object.__setattr__(self, "rates", rates)


class StagePlan:
    """A list of stages; the stage and the rates are functions of epoch and step alone."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        if not stages:
            raise SettingError("stages: at least one is needed")
        self.stages = tuple(stages)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Mapping[str, Any]]) -> "StagePlan":
        """From a map of stage name to the fields of Stage."""
        stages = []
        for name, fields in settings.items():
            if not isinstance(fields, Mapping):
                raise SettingError(f"stages.{name}={fields}: a map of epochs, learn, lr, ...")
            known = [key for key in Stage.__dataclass_fields__ if key not in ("name", "rates")]
            for key in fields:
                if key not in known:
                    raise SettingError(f"stages.{name}.{key}: unknown, {nearest(key, known)}")
            learn = fields.get("learn", ("all",))
            learn = (learn,) if isinstance(learn, str) else tuple(learn)
            if not isinstance(fields.get("epochs"), int):
                raise SettingError(f"stages.{name}.epochs={fields.get('epochs')}: a whole number")
            stages.append(Stage(name=name, **{**fields, "learn": learn}))
        return cls(stages)

    def settings(self) -> dict[str, dict[str, Any]]:
        """The plan as primitives, as `from_settings` takes it."""
        rows = {}
        for stage in self.stages:
            row = asdict(stage)
            del row["name"], row["rates"]
            lr = dict(stage.lr) if isinstance(stage.lr, Mapping) else stage.lr
            changed = {"learn": list(stage.learn), "schedule": str(stage.schedule), "lr": lr}
            rows[stage.name] = row | changed
        return rows

    @property
    def epochs(self) -> int:
        """Of all stages together."""
        return sum(stage.epochs for stage in self.stages)

    def at(self, epoch: int) -> tuple[int, int]:
        """Index of the stage of an epoch, and the stage's first epoch."""
        first = 0
        for index, stage in enumerate(self.stages[:-1]):
            if epoch < first + stage.epochs:
                return index, first
            first += stage.epochs
        return len(self.stages) - 1, first

    def rate(self, block: str, step: int, steps_per_epoch: int) -> float:
        """Learning rate of a block at an optimizer step, counted from the start of training."""
        index, first = self.at(step // steps_per_epoch)
        stage = self.stages[index]
        if block not in stage.rates:
            return 0.0
        share = factor(
            stage.schedule,
            step - first * steps_per_epoch,
            stage.epochs * steps_per_epoch,
            stage.warmup,
            stage.cycles,
        )
        return stage.rates[block] * share


class StagedFinetuning(Callback):
    """Freeze and unfreeze blocks as the stages of the detector's plan say.

    It keeps nothing that a checkpoint would need, adds no parameter group and touches no learning
    rate, so a resumed run cannot disagree with an unbroken one.
    """

    def __init__(self) -> None:
        self.announced = False

    # Both hooks: a run resumed inside an epoch gets no epoch-start call.
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.announced = False
        self._apply(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        index, first = self._apply(trainer, pl_module)
        begins = trainer.current_epoch == first
        if begins or not self.announced:
            figures = self._announce(pl_module, index)
            for logger in trainer.loggers if begins else ():
                logger.log_metrics(figures, step=trainer.global_step)
        self.announced = True

    def _apply(self, trainer: Trainer, detector: Any) -> tuple[int, int]:
        index, first = detector.plan.at(trainer.current_epoch)
        detector.train()
        set_learning(detector.detr, detector.family, detector.plan.stages[index].learn)
        return index, first

    def _announce(self, detector: Any, index: int) -> dict[str, float]:
        """Say what learns from now on, on the console and in the log; the same as figures."""
        stage = detector.plan.stages[index]
        title = f"stage {index + 1} of {len(detector.plan.stages)}: {stage.name}, {stage.epochs} epochs"
        table = Table("block", "parameters", "trainable", "peak learning rate", title=title)
        figures: dict[str, float] = {"stage": float(index + 1), "trainable_parameters": 0.0}
        total = 0
        for block, parameters in parameters_by_block(detector.detr, detector.family).items():
            count = sum(p.numel() for p in parameters)
            trainable = sum(p.numel() for p in parameters if p.requires_grad)
            rate = stage.rates.get(block, 0.0)
            total += count
            figures["trainable_parameters"] += trainable
            figures |= {f"trainable/{block}": float(trainable), f"peak_lr/{block}": rate}
            table.add_row(block, f"{count:,}", f"{trainable:,}", f"{rate:g}" if trainable else "frozen")
        table.add_section()
        table.add_row("all", f"{total:,}", f"{int(figures['trainable_parameters']):,}", "")
        log.info("%s", render(table))
        return figures
