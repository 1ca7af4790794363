"""A finding about a data set, and what findings come from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from detr_diff.choices import Diff, Places, SplitBy
from detr_diff.data.duplicates import Repeated
from detr_diff.data.inspection import Inspection
from detr_diff.data.statistics import Statistics

FEWEST = 5  # pairs or boxes that a verdict needs


class Level(StrEnum):
    """How bad: a problem spoils training, something suspicious may, a note is to be known."""

    problem = "problem"
    suspicious = "suspicious"
    note = "note"


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        level: How bad it is.
        name: What it is called, always the same words.
        what: What was seen, with figures.
        why: Why it matters.
        remedy: What to do, with the setting where there is one.
        pairs: The pairs concerned, the worst first, and what is wrong with each.
    """

    level: Level
    name: str
    what: str
    why: str
    remedy: str
    pairs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """What the findings come from.

    Attributes:
        statistics: Of all usable pairs.
        inspected: Names of the pairs that were looked at, and what was seen.
        ready_names: Pairs that are a single picture, a ready diff image.
        ready_spreads: Those of them that were looked at, to the grey levels between their quartiles.
        repeated: Copies of one picture in two splits, among those.
        shared: Number of frame files that two splits use, and examples.
        one_camera: Whether all frames look like one camera's.
        split_by: How the data is divided.
        places: What dataset.yaml says of the labels.
        diff: The diff that shall be learnt.
        aligned: Whether training aligns the frames, or compares them so that it does not matter.
        light_compensated: Whether training takes a change of light out.
    """

    statistics: Statistics
    inspected: Mapping[str, Inspection]
    ready_names: Sequence[str] = ()
    ready_spreads: Mapping[str, float] = field(default_factory=dict)
    repeated: Sequence[Repeated] = ()
    shared: tuple[int, Sequence[Repeated]] = (0, ())
    one_camera: bool = False
    split_by: SplitBy = SplitBy.auto
    places: Places | None = None
    diff: Diff = Diff.abs
    aligned: bool = False
    light_compensated: bool = False


def percent(share: float) -> str:
    """A share as a reader wants it: 12 %."""
    return f"{100 * share:.0f} %"


def some(number: int, one: str, many: str) -> str:
    """A number with its noun."""
    return f"{number} {one if number == 1 else many}"
