"""The words that settings choose from. Imports nothing heavy, so that a wrong word is told at once."""

from enum import StrEnum


class Diff(StrEnum):
    """How two frames become one image; see data/diff.py."""

    abs = "abs"
    signed = "signed"
    stack = "stack"

    @property
    def channels(self) -> int:
        """Channels of the image."""
        return 9 if self is Diff.stack else 3

    @property
    def symmetric(self) -> bool:
        """Whether swapping the frames gives the same image."""
        return self is Diff.abs


class Augment(StrEnum):
    """none, or light: mirrored half of the time and shifted by a few pixels."""

    none = "none"
    light = "light"


class SplitBy(StrEnum):
    """How a data set is divided.

    auto: by the split column where it names more than one split, else by scene where there are
        at least three scenes, else by pair.
    """

    auto = "auto"
    column = "column"
    scene = "scene"
    pair = "pair"
    time = "time"


class Split(StrEnum):
    """A part of a data set."""

    all = "all"
    train = "train"
    val = "val"
    test = "test"


class OnError(StrEnum):
    """What to do with pairs that have problems: refuse to go on, or leave them out."""

    refuse = "refuse"
    skip = "skip"


class Schedule(StrEnum):
    """Learning rate after the warm-up: constant, or cosine from the peak to 0, in cycles."""

    constant = "constant"
    cosine = "cosine"
