from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detr_diff.data.check import check
from detr_diff.data.description import read_description
from detr_diff.data.discovery import discover
from detr_diff.data.frame_pair import FramePair
from detr_diff.data.labelled_pairs import LabelledPair
from detr_diff.data.labels import Labels
from detr_diff.data.statistics import count

NAMES = ["a", "b", "c"]
share = st.floats(0.01, 1)
labels = st.lists(st.tuples(st.integers(0, 2), share, share, share, share), max_size=4)
splits = st.sampled_from(["train", "val", "test", None])


def pair(index: int, rows: list[tuple], scene: str | None, size: tuple[int, int]) -> LabelledPair:
    classes = np.array([row[0] for row in rows], np.int64)
    boxes = np.array([row[1:] for row in rows], np.float32).reshape(-1, 4)
    frames = FramePair(str(index), Path("b"), Path("a"), Path("l"), scene)
    return LabelledPair(frames, Labels(classes, boxes), *size)


@given(
    st.lists(
        st.tuples(labels, splits, st.sampled_from(["x", "y", None]), st.sampled_from([(10, 20), (6, 8)])),
        min_size=1,
        max_size=8,
    )
)
def test_counts_and_sizes_agree_with_a_slow_count(items: list[tuple]) -> None:
    pairs = [pair(index, rows, scene, size) for index, (rows, _, scene, size) in enumerate(items)]
    statistics = count(pairs, [item[1] for item in items], NAMES)
    assert len(statistics) == len(items)
    by_split = {row["split"]: row for row in statistics.by_split()}
    assert set(by_split) == {item[1] for item in items}
    for split, row in by_split.items():
        own = [item for item in items if item[1] == split]
        assert row["pairs"] == len(own)
        assert row["pairs_without_objects"] == sum(not item[0] for item in own)
        assert row["scenes"] == len({item[2] for item in own} - {None})
        for label, name in enumerate(NAMES):
            assert row["classes"][name] == sum(r[0] == label for item in own for r in item[0])
    rows = {(row["class"], row["split"]): row for row in statistics.by_class()}
    for (name, split), row in rows.items():
        sides = [
            (r[3] * width, r[4] * height, r[1])
            for own, own_split, _, (height, width) in items
            for r in own
            if own_split == split and NAMES[r[0]] == name
        ]
        assert row["objects"] == len(sides)
        for key, values in zip(("width", "height", "x"), zip(*sides, strict=True), strict=True):
            assert row[key] == pytest.approx(np.quantile(values, [0.05, 0.5, 0.95]), abs=1e-3)
    assert sum(row["objects"] for row in rows.values()) == sum(len(item[0]) for item in items)


def test_real_pairs_are_counted(data_root: Path) -> None:
    names = read_description(data_root).names
    pairs = check(discover(data_root), names).pairs
    statistics = count(pairs, ["train"] * len(pairs), names)
    (row,) = statistics.by_split()
    lines = [path.read_text().splitlines() for path in (data_root / "labels").rglob("*.txt")]
    assert (row["pairs"], row["scenes"], row["objects"]) == (30, 10, sum(map(len, lines)))
    assert row["pairs_without_objects"] == sum(not own for own in lines)


def test_nothing_is_counted_without_pairs() -> None:
    statistics = count([], [], NAMES)
    assert statistics.by_split() == []
    assert statistics.by_class() == []
