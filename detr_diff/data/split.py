"""Which pair belongs to training, validation and test."""

import hashlib
import os
from collections.abc import Mapping, Sequence, Set, Sized

import numpy as np
import numpy.typing as npt

from detr_diff.choices import SplitBy
from detr_diff.data.frame_pair import FramePair
from detr_diff.data.labelled_pairs import LabelledPairs
from detr_diff.errors import SettingError
from detr_diff.text import natural


def split_pairs(
    pairs: Sequence[FramePair],
    by: SplitBy,
    val: float,
    test: float,
    seed: int,
    usable: Sequence[int] | None = None,
) -> list[str | None]:
    """Assign every pair to a split.

    By scene and by pair the choice is a hash of (seed, scene or pair name), so that adding
    files moves nothing that was there before. By time, the frames in the order of their file
    names, numbers as numbers, are cut: the last `test` share of them is the test part, the `val`
    share before it the validation part; a pair with frames on both sides of a cut is left out (None).

    Args:
        pairs: The frame pairs.
        by: See SplitBy.
        val: Share of validation, in [0, 1).
        test: Share of test, in [0, 1).
        seed: Another seed gives another division.
        usable: Positions of the pairs whose split column is looked at; None: all. What it says of a pair
            that cannot be used may be wrong.

    Raises:
        SettingError: The shares do not fit, or `by` needs what the pairs do not have.
    """
    if not (val >= 0.0 and test >= 0.0 and val + test < 1.0):
        raise SettingError(f"data.val={val} data.test={test}: shares from 0, together below 1")
    said = pairs if usable is None else [pairs[position] for position in usable]
    if by is SplitBy.auto:
        named, scenes_named = {pair.split for pair in said}, {pair.scene for pair in pairs}
        if _divides(named):
            by = SplitBy.column
        elif None not in scenes_named and len(scenes_named) >= 3:
            by = SplitBy.scene
        else:
            by = SplitBy.pair
    if by is SplitBy.column:
        unnamed = [pair.name for pair in said if pair.split is None]
        if unnamed:
            raise SettingError(
                f"data.split_by=column: pair {unnamed[0]!r} has no split, {len(unnamed)} of {len(said)} in "
                "all; name one for each, or choose data.split_by=scene, pair or time"
            )
        return [pair.split for pair in pairs]
    if by is SplitBy.time:
        return _by_time(pairs, val, test)
    if by is SplitBy.scene:
        without = next((pair.name for pair in pairs if pair.scene is None), None)
        if without is not None:
            raise SettingError(f"data.split_by=scene: pair {without!r} has no scene; set data.scene")
        scenes = [str(pair.scene) for pair in pairs]
        names = sorted(set(scenes))
        number = {name: index for index, name in enumerate(names)}
        chosen = _by_hash(np.array([_hash(seed, name) for name in names]), val, test)
        return [chosen[number[scene]] for scene in scenes]
    positions = np.fromiter((_hash(seed, pair.name) for pair in pairs), np.float64, len(pairs))
    return [*_by_hash(positions, val, test)]


def remedy_of_empty(pairs: Sequence[FramePair], by: str, val: float, test: float) -> str:
    """What to look at when a split has come out empty; the arguments are those of the division."""
    named = {pair.split for pair in pairs}
    if by == SplitBy.column or (by == SplitBy.auto and _divides(named)):
        return "the split column names none; data.split_by=scene, pair or time divides anew"
    return f"see data.split_by={by} data.val={val} data.test={test}"


def _divides(named: Set[str | None]) -> bool:
    """Whether a split column means something: one that says `train` of every pair asks for a division."""
    return len(named) > 1 or named <= {"val", "test"}


def _by_hash(positions: npt.NDArray[np.float64], val: float, test: float) -> list[str]:
    """The split of each unit, from its place in [0, 1)."""
    splits = ("test", "train", "val")
    chosen = np.where(positions < test, 0, np.where(positions < test + val, 2, 1))
    # With few scenes a split can come out empty: then it takes a unit of the largest one.
    for split, share in ((1, 1.0), (2, val), (0, test)):
        counts = np.bincount(chosen, minlength=3)
        if share > 0 and not counts[split] and counts.max() > 1:
            givers = np.nonzero(chosen == counts.argmax())[0]
            chosen[givers[positions[givers].argmin()]] = split
    return [splits[index] for index in chosen]


def _hash(seed: int, text: str) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    digest = hashlib.sha256(f"{seed}/{text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _by_time(pairs: Sequence[FramePair], val: float, test: float) -> list[str | None]:
    earlier = {str(pair.before or pair.after) for pair in pairs}
    later = {str(pair.after) for pair in pairs}
    # Where both kinds of frames have folders of their own, the time is in the name of the file alone.
    apart = not {*map(os.path.dirname, earlier)} & {*map(os.path.dirname, later)}
    names = earlier | later
    frames = sorted(
        names, key=lambda name: (natural(os.path.basename(name)), name) if apart else natural(name)
    )
    count = len(frames)
    first_test = count - round(count * test)
    first_val = first_test - round(count * val)
    part = {
        frame: "train" if index < first_val else "val" if index < first_test else "test"
        for index, frame in enumerate(frames)
    }
    both = [(part[str(pair.before or pair.after)], part[str(pair.after)]) for pair in pairs]
    return [before if before == after else None for before, after in both]


def split_usable(usable: LabelledPairs, by: SplitBy, val: float, test: float, seed: int) -> list[str | None]:
    """The split of each pair that can be used; the arguments are those of `split_pairs`.

    All that were found are divided, so that a pair left out moves no cut in time: what was learnt is found
    again by an evaluation that leaves out other pairs.
    """
    rows = usable.rows.tolist()
    chosen = split_pairs(usable.pairs, by, val, test, seed, rows)
    return [chosen[row] for row in rows]


def division(splits: Mapping[str, Sized], names: Sequence[str]) -> str:
    """How many pairs there are in each split; undivided pairs are just so many."""
    counts = {name: len(splits[name]) for name in names}
    if max(counts.values()) == sum(counts.values()):
        return str(sum(counts.values()))
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def subset(names: Sequence[str], size: int, seed: int) -> list[int]:
    """Indices of `size` names, spread over all of them, stable when names are added."""
    order = sorted(range(len(names)), key=lambda index: _hash(seed, names[index]))
    return sorted(order[:size])
