"""What learns in the stages of a plan, and how fast: as tables, figures and curves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.table import Table
from torch import nn

from detr_diff.model.block_names import BLOCKS, contract
from detr_diff.model.blocks import RateGroup
from detr_diff.training.stages import Stage, Timeline


@dataclass(frozen=True)
class StageRow:
    """A rate group in a stage.

    Attributes:
        group: The block, or the part of it with one multiple of its rate.
        tensors: How many parameters it has.
        numbers: How many numbers they hold.
        learning: How many of the parameters learn.
        trainable: How many numbers they hold.
        rate: Peak learning rate of what learns; 0 when nothing does.
    """

    group: RateGroup
    tensors: int
    numbers: int
    learning: int
    trainable: int
    rate: float


def stage_rows(detr: nn.Module, groups: Iterable[RateGroup], stage: Stage) -> list[StageRow]:
    """What learns in a stage of a plan that is bound to the model."""
    sizes = {name: parameter.numel() for name, parameter in detr.named_parameters()}
    rows = []
    for group in groups:
        learning = [name for name in group.names if name in stage.chosen]
        rate = stage.rates[group.block] * group.multiple if learning else 0.0
        numbers = sum(sizes[name] for name in group.names)
        trainable = sum(sizes[name] for name in learning)
        rows.append(StageRow(group, len(group.names), numbers, len(learning), trainable, rate))
    return rows


def stage_table(rows: Sequence[StageRow], title: str) -> Table:
    """A row for each group, and the sum."""
    table = Table(title=title)
    for name in ("block", "tensors", "parameters", "trainable", "peak learning rate"):
        table.add_column(name, justify="left" if name == "block" else "right")
    for row in rows:
        table.add_row(
            row.group.label,
            str(row.tensors),
            f"{row.numbers:,}",
            f"{row.trainable:,}",
            f"{row.rate:.3g}" if row.learning else "frozen",
        )
    table.add_section()
    sums = (sum(r.tensors for r in rows), sum(r.numbers for r in rows), sum(r.trainable for r in rows))
    table.add_row("all", *(f"{number:,}" for number in sums), "")
    return table


def stage_figures(rows: Iterable[StageRow]) -> dict[str, float]:
    """The same for the loggers, by block; of several rates in a block the highest."""
    figures = {"trainable_parameters": 0.0}
    for row in rows:
        trainable, peak = f"trainable/{row.group.block}", f"peak_lr/{row.group.block}"
        figures["trainable_parameters"] += row.trainable
        figures[trainable] = figures.get(trainable, 0.0) + row.trainable
        figures[peak] = max(figures.get(peak, 0.0), row.rate)
    return figures


def plan_table(timeline: Timeline, detr: nn.Module, groups: Sequence[RateGroup]) -> Table:
    """All stages, before the first of them."""
    table = Table("stage", "epochs", "steps", "blocks that learn", "parameters", "peak learning rate")
    table.title = "plan"
    for span in timeline.spans:
        rows = stage_rows(detr, groups, span.stage)
        learning = [row for row in rows if row.learning]
        rates = sorted({row.rate for row in learning}, reverse=True)
        shown = rates if len(rates) <= 4 else [rates[0], rates[-1]]
        table.add_row(
            span.stage.name,
            str(span.epochs),
            str(span.epochs * span.steps_per_epoch),
            ", ".join(_learning(rows)),
            f"{sum(row.trainable for row in rows):,}",
            (", " if shown is rates else " to ").join(f"{rate:.3g}" for rate in shown),
        )
    return table


def _learning(rows: Sequence[StageRow]) -> list[str]:
    """The blocks that learn, and those of which a part does."""
    counts = dict.fromkeys(BLOCKS, (0, 0))
    for row in rows:
        learning, tensors = counts[row.group.block]
        counts[row.group.block] = learning + row.learning, tensors + row.group.learnable
    whole = [block for block, (learning, tensors) in counts.items() if learning == tensors > 0]
    return [*contract(whole), *(f"part of {b}" for b, (some, of) in counts.items() if 0 < some < of)]


def planned_rates(
    groups: Iterable[RateGroup], timeline: Timeline, steps: Sequence[int]
) -> dict[str, list[float]]:
    """The learning rates over the steps, by block.

    A block with several multiples has two curves, the highest and the lowest of them; the others
    lie between.
    """
    by_block: dict[str, list[RateGroup]] = {}
    for group in groups:
        by_block.setdefault(group.block, []).append(group)
    curves = {}
    for block, parts in by_block.items():
        shares = [timeline.rate(block, step) for step in steps]
        stages = [timeline.at_step(step).stage for step in steps]
        parts = sorted(parts, key=lambda part: part.multiple)
        for part in parts[-1:] if len(parts) == 1 else (parts[-1], parts[0]):
            names = set(part.names)
            learns = {id(span.stage): bool(span.stage.chosen & names) for span in timeline.spans}
            curves[part.label] = [
                share * part.multiple if learns[id(stage)] else 0.0
                for share, stage in zip(shares, stages, strict=True)
            ]
    return curves
