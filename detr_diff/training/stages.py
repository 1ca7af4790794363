"""The stages of a training: which blocks learn, how fast, and for how long."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

from detr_diff.choices import Augment, Schedule
from detr_diff.errors import NothingLearns, SettingError, nearest
from detr_diff.model.block_names import BLOCKS, contract, expand
from detr_diff.model.selection import ParameterNames, blocks_meant, is_block
from detr_diff.training.schedules import factor


@dataclass(frozen=True)
class Stage:
    """Some epochs in which some blocks learn.

    Attributes:
        name: For people.
        epochs: How many.
        learn: What learns: blocks, aliases (all, backbone, transformer, heads), some of their layers
            (`decoder[-2:]`), or expressions (`/.*norm.*/`); see ParameterNames.
        freeze: What of it does not, in the same words.
        lr: Peak learning rate, one for all blocks or a map from block or alias to rate, in which
            later entries win. A block without a rate, or with 0, does not learn.
        schedule: constant, linear or cosine.
        cycles: Number of cosines in the stage.
        warmup: Share of the stage's steps in which the rate rises.
        batch_size: Pairs in a batch; None: as data.batch_size says.
        augment: How much the training pairs are varied; None: as data.augment says.
        patience: The stage ends early after so many validations without a better monitor; None:
            never.
        blocks: In which something may learn; in a bound stage, in which something does.
        rates: Of each of them.
        unrated: Blocks that `learn` names, but a map of rates does not.
        chosen: In a bound stage, the names of the parameters that learn.
    """

    name: str
    epochs: int
    learn: tuple[str, ...] = ("all",)
    freeze: tuple[str, ...] = ()
    lr: float | Mapping[str, float] = 1e-4
    schedule: Schedule = Schedule.cosine
    cycles: int = 5
    warmup: float = 0.05
    batch_size: int | None = None
    augment: Augment | None = None
    patience: int | None = None
    blocks: tuple[str, ...] = field(init=False, repr=False, compare=False)
    rates: Mapping[str, float] = field(init=False, repr=False, compare=False)
    unrated: tuple[str, ...] = field(init=False, repr=False, compare=False)
    chosen: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        where = f"stages.{self.name}"
        for name in ("epochs", "cycles", "batch_size", "patience"):
            value = getattr(self, name)
            optional = name in ("batch_size", "patience")
            if not (value is None and optional) and (not isinstance(value, int) or value < 1):
                raise SettingError(f"{where}.{name}={value}: a whole number, at least 1")
        if not isinstance(self.warmup, int | float) or not 0.0 <= self.warmup < 1.0:
            raise SettingError(f"{where}.warmup={self.warmup}: a share of the stage, from 0 to below 1")
        if self.schedule not in list(Schedule):
            raise SettingError(f"{where}.schedule={self.schedule}: {nearest(str(self.schedule), Schedule)}")
        object.__setattr__(self, "schedule", Schedule(self.schedule))
        if self.augment is not None:
            if self.augment not in list(Augment):
                raise SettingError(f"{where}.augment={self.augment}: {nearest(str(self.augment), Augment)}")
            object.__setattr__(self, "augment", Augment(self.augment))
        for name in ("learn", "freeze"):
            words: tuple[str, ...] = getattr(self, name)
            plain = expand([word for word in words if is_block(word)], f"{where}.{name}")
            others = dict.fromkeys(word for word in words if not is_block(word))
            object.__setattr__(self, name, (*plain, *others))
        if not self.learn:
            raise NothingLearns(f"{where}.learn: no block learns")
        meant = {block for word in self.learn for block in blocks_meant(word, f"{where}.learn")}
        for word in self.freeze:
            blocks_meant(word, f"{where}.freeze")
        meant -= {word for word in self.freeze if word in BLOCKS}
        if not meant:
            raise NothingLearns(f"{where}.freeze={contract(self.freeze)}: leaves nothing to learn")
        rates = dict.fromkeys((block for block in BLOCKS if block in meant), 0.0)
        given = self.lr if isinstance(self.lr, Mapping) else {"all": self.lr}
        # An expression may touch few of the blocks.
        named = {b for word in self.learn if word[0] != "/" for b in blocks_meant(word, f"{where}.learn")}
        unrated = dict.fromkeys(block for block in rates if block in named)
        for blocks, rate in given.items():
            if not isinstance(rate, int | float) or not 0 <= rate < math.inf:
                raise SettingError(f"{where}.lr.{blocks}={rate}: a number from 0")
            if not is_block(blocks) and blocks_meant(blocks, f"{where}.lr"):
                raise SettingError(
                    f"{where}.lr.{blocks}: a rate is that of a block; optimizer.multiples takes layers and "
                    "expressions"
                )
            for block in expand([blocks], f"{where}.lr"):
                if block in rates:
                    rates[block] = float(rate)
                    unrated.pop(block, None)
        if not any(rates.values()):
            raise NothingLearns(f"{where}.lr={self.lr}: the rate of every learning block is 0")
        # What has no rate does not learn: without gradients, and its batch norm stands still.
        rates = {block: rate for block, rate in rates.items() if rate}
        object.__setattr__(self, "rates", rates)
        object.__setattr__(self, "blocks", tuple(rates))
        object.__setattr__(self, "unrated", tuple(unrated))

    def bound(self, names: ParameterNames, still: Collection[str] = ()) -> "Stage":
        """The same for a model whose parameters are known.

        Args:
            names: The parameters.
            still: Those whose rates are multiplied by 0.

        Raises:
            SettingError: A word that matches nothing there.
        """
        stage = replace(self)
        chosen = names.learning(self.learn, self.freeze, f"stages.{self.name}")
        chosen = frozenset(name for name in chosen - set(still) if names.blocks[name] in self.rates)
        learning = {names.blocks[name] for name in chosen}
        rates = {block: rate for block, rate in self.rates.items() if block in learning}
        object.__setattr__(stage, "chosen", chosen)
        object.__setattr__(stage, "rates", rates)
        object.__setattr__(stage, "blocks", tuple(rates))
        return stage


class Span(NamedTuple):
    """A stage in its place among the epochs and optimizer steps of a training."""

    number: int
    stage: Stage
    first_epoch: int
    epochs: int
    first_step: int
    steps_per_epoch: int


class StagePlan:
    """A list of stages."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        if not stages:
            raise SettingError("stages: at least one is needed")
        self.stages = tuple(stages)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Mapping[str, Any]]) -> "StagePlan":
        """From a map of stage name to the fields of Stage."""
        stages = []
        for name, given in settings.items():
            if not isinstance(given, Mapping):
                raise SettingError(f"stages.{name}={given}: a map of epochs, learn, lr, ...")
            known = [one.name for one in fields(Stage) if one.init and one.name != "name"]
            for key in given:
                if key not in known:
                    raise SettingError(f"stages.{name}.{key}: unknown, {nearest(key, known)}")
            words = {"learn": given.get("learn", ("all",)), "freeze": given.get("freeze") or ()}
            chosen = {key: (w,) if isinstance(w, str) else tuple(map(str, w)) for key, w in words.items()}
            stages.append(Stage(name=name, **{"epochs": None, **given, **chosen}))
        return cls(stages)

    def bound(self, names: ParameterNames, still: Collection[str] = ()) -> "StagePlan":
        """The same for a model whose parameters are known, see Stage.bound()."""
        return StagePlan([stage.bound(names, still) for stage in self.stages])

    def settings(self) -> dict[str, dict[str, Any]]:
        """The plan as primitives, as `from_settings` takes it."""
        rows = {}
        for stage in self.stages:
            row = {one.name: getattr(stage, one.name) for one in fields(Stage) if one.init}
            del row["name"]
            lr = dict(stage.lr) if isinstance(stage.lr, Mapping) else stage.lr
            words = {"learn": list(stage.learn), "freeze": list(stage.freeze)}
            changed = {**words, "schedule": str(stage.schedule), "lr": lr}
            if stage.augment is not None:
                changed["augment"] = str(stage.augment)
            rows[stage.name] = row | changed
        return rows

    @property
    def epochs(self) -> int:
        """Of all stages together, when none ends early."""
        return sum(stage.epochs for stage in self.stages)

    def timeline(
        self, steps_per_epoch: Callable[[Stage], int], ended: Mapping[int, int] | None = None
    ) -> "Timeline":
        """The stages one after the other.

        Args:
            steps_per_epoch: Optimizer steps in an epoch of a stage.
            ended: Index of each stage that ended early, to the epochs that it had.
        """
        spans: list[Span] = []
        epoch = step = 0
        for index, stage in enumerate(self.stages):
            epochs, steps = (ended or {}).get(index, stage.epochs), steps_per_epoch(stage)
            spans.append(Span(index + 1, stage, epoch, epochs, step, steps))
            epoch += epochs
            step += epochs * steps
        return Timeline(spans)


class Timeline:
    """The stages in their places; stage and learning rate as functions of epoch and step alone."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self.spans = tuple(spans)

    @property
    def epochs(self) -> int:
        """Of all stages together."""
        return self.spans[-1].first_epoch + self.spans[-1].epochs

    @property
    def steps(self) -> int:
        """Optimizer steps of all stages together."""
        last = self.spans[-1]
        return last.first_step + last.epochs * last.steps_per_epoch

    def at_epoch(self, epoch: int) -> Span:
        """The stage of an epoch; the last one goes on for ever."""
        return next(span for span in reversed(self.spans) if span.first_epoch <= epoch)

    def at_step(self, step: int) -> Span:
        """The stage of an optimizer step, counted from the start of training."""
        return next(span for span in reversed(self.spans) if span.first_step <= step)

    def rate(self, block: str, step: int) -> float:
        """Learning rate of a block at an optimizer step, counted from the start of training.

        A stage that ends early ends in the middle of its schedule.
        """
        span = self.at_step(step)
        stage = span.stage
        if block not in stage.rates:
            return 0.0
        planned = stage.epochs * span.steps_per_epoch
        share = factor(stage.schedule, step - span.first_step, planned, stage.warmup, stage.cycles)
        return stage.rates[block] * share


def ended_early(
    stages: Sequence[Stage], validations: Sequence[tuple[int, float]], sign: float, min_delta: float
) -> dict[int, int]:
    """Which stages ran out of patience, as a function of all validations so far.

    Args:
        stages: Of the plan.
        validations: Epoch and value of the monitor, in order.
        sign: 1 where more is better, -1 where less is.
        min_delta: What counts as better.

    Returns:
        Index of the stage to the epochs that it had. The next stage begins after the epoch in
        which patience ran out. As long as a figure of which more is better has been 0, as AP is at
        first, patience waits: it says nothing yet.
    """
    ended: dict[int, int] = {}
    index = first = worse = 0
    best = -float("inf")
    for epoch, value in validations:
        while index < len(stages) - 1 and epoch >= first + ended.get(index, stages[index].epochs):
            first += ended.get(index, stages[index].epochs)
            index += 1
            worse, best = 0, -float("inf")
        if sign * value > best + min_delta:
            worse, best = 0, sign * value
            continue
        worse += int(sign < 0 or best != 0.0)
        patience = stages[index].patience
        if patience is not None and worse >= patience:
            ended.setdefault(index, epoch - first + 1)
    return ended
