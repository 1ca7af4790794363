"""Columns give back what was put in, in little memory that workers share."""

import gc
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detr_diff.data.frame_pair import FramePair, FramePairs
from detr_diff.data.labelled_pairs import LabelColumns, LabelledPairs
from detr_diff.data.labels import NO_LABELS, Labels
from detr_diff.data.loading import build_loader
from detr_diff.data.strings import Strings

ROOT = Path("/data/set")
MANY = 20_000

name = st.text(min_size=1, max_size=12).filter(lambda text: "\0" not in text)
path = st.one_of(name.map(lambda text: ROOT / "images" / text), name.map(lambda text: Path("/else") / text))
pair = st.builds(
    FramePair,
    name=name,
    before=st.none() | path,
    after=path,
    label=st.none() | path,
    scene=st.none() | name,
    split=st.none() | st.sampled_from(["train", "val"]),
)


def labels(count: int) -> Labels:
    rng = np.random.default_rng(count)
    places, objects = rng.integers(-1, 2, count), rng.integers(-1, 10**9, count)
    return Labels(rng.integers(0, 5, count), rng.random((count, 4), np.float32), places, objects)


@given(st.lists(st.tuples(pair, st.integers(0, 4), st.booleans()), max_size=8), st.data())
def test_what_was_put_in_comes_out(rows: list[tuple[FramePair, int, bool]], data: st.DataObject) -> None:
    pairs = FramePairs(ROOT, (row for row, _, _ in rows))
    assert list(pairs) == [row for row, _, _ in rows]
    columns = LabelColumns(pairs)
    for index, (_, count, usable) in enumerate(rows):
        if usable:
            columns.append(labels(count), (10 + index, 20), -index)
        else:
            columns.skip()
    found = columns.finish()
    expected = [(index, row, count) for index, (row, count, usable) in enumerate(rows) if usable]
    chosen = data.draw(st.lists(st.integers(0, len(expected) - 1), max_size=5)) if expected else []
    for part, wanted in (
        (found, expected),
        (found.take(chosen), [expected[i] for i in chosen]),
        (found[1:], expected[1:]),
    ):
        assert len(part) == len(wanted)
        assert list(part.frame_pairs()) == [row for _, row, _ in wanted]
        assert part.contents[part.rows].tolist() == [-index for index, _, _ in wanted]
        for item, (index, row, count) in zip(part, wanted, strict=True):
            assert item.pair == row
            assert (item.height, item.width) == (10 + index, 20)
            np.testing.assert_array_equal(item.labels.boxes, labels(count).boxes)
            np.testing.assert_array_equal(item.labels.class_labels, labels(count).class_labels)


def test_strings_that_are_no_text_and_no_index() -> None:
    strings = Strings(["a", "", "\udcff"])
    assert [strings[0], strings[-1], *strings[1:]] == ["a", "\udcff", "", "\udcff"]
    with pytest.raises(IndexError):
        strings[3]


@pytest.fixture(scope="module")
def many() -> LabelledPairs:
    """Pairs with names as long as people give them and three objects each."""
    pairs = FramePairs(ROOT)
    columns = LabelColumns(pairs)
    for index in range(MANY):
        stem = f"camera_{index // 1000:04d}/sequence_{index:08d}"
        frames = (ROOT / f"images/{stem}_{role}.jpg" for role in ("before", "after"))
        pairs.append(FramePair(stem, *frames, ROOT / f"labels/{stem}.txt", stem[:11]))
        columns.append(labels(3) if index % 2 else NO_LABELS, (1080, 1920))
    return columns.finish()


def test_a_million_pairs_stay_under_500_megabytes(many: LabelledPairs) -> None:
    assert len(pickle.dumps(many)) * 1_000_000 / MANY < 400e6


class Walk:
    """Looks at all pairs in a worker and tells how many bytes the worker has for itself by then."""

    def __init__(self, pairs: LabelledPairs) -> None:
        self.pairs = pairs

    def __getitem__(self, index: int) -> int:
        gc.disable()  # it writes to every object of the parent, whatever the pairs are
        half = len(self.pairs) // 2
        self.walk(range(half))  # the worker takes memory that the parent has freed
        before = own_bytes()
        self.walk(range(half, len(self.pairs)))
        return own_bytes() - before

    def walk(self, positions: range) -> None:
        for position in positions:
            assert self.pairs[position].width

    def __len__(self) -> int:
        return 1


def own_bytes() -> int:
    rollup = Path(f"/proc/{os.getpid()}/smaps_rollup").read_text()
    return sum(
        1024 * int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_Dirty")
    )


def grown_in_worker(pairs: Any) -> int:
    """The least of three, as what else a process does only adds."""
    return min(growth for _ in range(3) for growth in build_loader(Walk(pairs), 1, batch_size=None))


def growths(many: LabelledPairs) -> tuple[int, int]:
    """Bytes that a worker needs for itself to look at columns, and at Python objects."""
    return grown_in_worker(many), grown_in_worker(list(many))


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux tells who owns memory")
@pytest.mark.exhaustive
def test_workers_copy_nothing(many: LabelledPairs) -> None:
    """Looking at columns costs a worker less than half of what looking at Python objects does."""
    # A process of its own: what the tests before have left and freed in this one is in its workers too.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        grown, copied = pool.submit(growths, many).result()
    assert grown < copied / 2, (grown, copied)
