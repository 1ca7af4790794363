"""Measurement: the same job for several sides, which take turns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from detr_diff.bench.side import Failed, Side

REFERENCES = ("plain", "tuned")
Answers = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Line:
    """A row of the table that a measurement gives.

    Attributes:
        case: What was measured.
        unit: What the seconds are of: a sample, a step, an epoch, ...
        pairs: How many pairs are in it; None where pairs per second mean nothing.
        side: Which of the sides is ours in this row.
        key: Which of the times that it tells.
        times: What the reference's time is multiplied by, when ours is of so many.
    """

    case: str
    unit: str
    pairs: int | None = None
    side: str = "ours"
    key: str = "seconds"
    times: int = 1


@dataclass(frozen=True)
class Measurement:
    """What is measured.

    Attributes:
        part: Of the benchmark.
        jobs: Name of a side to its job.
        turns: How many each side gets.
        lines: The rows that it gives.
    """

    part: str
    jobs: Mapping[str, Mapping[str, Any]]
    turns: int
    lines: Sequence[Line]


@dataclass
class Row:
    """What was found.

    Attributes:
        part: Of the benchmark.
        case: What was measured.
        unit: What the seconds are of.
        pairs: How many pairs are in it.
        seconds: Side to the time of each turn.
        cpu: Side to the seconds of the processor in each turn, of the process alone, not of its workers;
            they hardly change when the machine has other things to do. Of a turn of steps they
            are those of all its steps.
        ratios: Reference to how many times longer it takes, the median over the turns.
        cpu_ratios: The same of the processor's seconds.
        figures: Side to its last memory, share of waiting and whatever else it told.
        failed: Side to why it has no times.
    """

    part: str
    case: str
    unit: str
    pairs: int | None
    seconds: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    cpu_ratios: dict[str, float] = field(default_factory=dict)
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def median(self, side: str) -> float | None:
        """Of the times of a side."""
        return median(self.seconds[side]) if self.seconds.get(side) else None

    def compare(self) -> None:
        """Work the ratios out; the times of one turn are compared, as the machine was the same for both."""
        for times, ratios in ((self.seconds, self.ratios), (self.cpu, self.cpu_ratios)):
            for name in REFERENCES:
                pairs = zip(times.get(name, []), times.get("ours", []), strict=False)
                found = [theirs / own for theirs, own in pairs if own]
                if found:
                    ratios[name] = median(found)


def measure(
    measurement: Measurement, start: Callable[[str], Side], watch: Callable[[], Any] | None = None
) -> list[Row]:
    """Let the sides take turns; a side that fails is left out and the others go on.

    Args:
        measurement: What is measured.
        start: Gives the process of a side.
        watch: Begins to look at the device, and returns something whose call ends that with figures.
    """
    answers: Answers = {}
    facts: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    sides: dict[str, Side] = {}
    for name in measurement.jobs:
        sides[name] = start(name)  # all import at once
    for name, job in measurement.jobs.items():
        try:
            facts[name] = sides[name].prepare(job)
            answers[name] = []
        except Failed as error:
            failed[name] = str(error)
    for _ in range(measurement.turns):
        for name in [name for name in answers if name not in failed]:
            # Between steps batches are loaded, which is no part of them.
            seen = watch() if watch is not None and measurement.part != "step" else dict
            try:
                answers[name].append({**sides[name].turn(), **seen()})
            except Failed as error:
                failed[name] = str(error)
                seen()
    return [_row(measurement, line, answers, facts, failed) for line in measurement.lines]


def _row(
    measurement: Measurement,
    line: Line,
    answers: Answers,
    facts: Mapping[str, dict[str, Any]],
    failed: Mapping[str, str],
) -> Row:
    row = Row(measurement.part, line.case, line.unit, line.pairs)
    names = {**{name: name for name in REFERENCES if name in measurement.jobs}, "ours": line.side}
    for name, side in names.items():
        if side in failed:
            row.failed[name] = failed[side]
            continue
        key, times = (line.key, 1) if name == "ours" else ("seconds", line.times)
        row.seconds[name] = [times * answer[key] for answer in answers[side] if key in answer]
        if line.key == "seconds":
            row.cpu[name] = [times * answer["cpu"] for answer in answers[side]]
        last = answers[side][-1] if answers[side] else {}
        own = {k: v for k, v in last.items() if k not in ("seconds", "cpu", "first", "following")}
        row.figures[name] = {**facts[side], **own}
    row.compare()
    return row
