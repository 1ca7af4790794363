from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detr_diff.choices import Diff, SplitBy
from detr_diff.compose import compose
from detr_diff.data.datamodule import MovedObjectDataModule
from detr_diff.data.diff import Comparison
from detr_diff.data.frame_pair import FramePair
from detr_diff.data.split import remedy_of_empty, split_pairs, subset
from detr_diff.errors import SettingError
from detr_diff.grammar import quoted
from detr_diff.model.threshold_blobs import unprocessed


def pairs(count: int, scenes: int = 0, split: str | None = None) -> list[FramePair]:
    return [
        FramePair(
            f"p{i}",
            Path(f"{i:03d}.png"),
            Path(f"{i + 2:03d}.png"),
            None,
            f"s{i % scenes}" if scenes else None,
            split,
        )
        for i in range(count)
    ]


@given(st.integers(3, 40), st.integers(0, 5), st.sampled_from([0.0, 0.1, 0.3]))
def test_no_scene_is_on_both_sides(scenes: int, seed: int, test: float) -> None:
    items = pairs(3 * scenes, scenes)
    chosen = split_pairs(items, SplitBy.scene, 0.2, test, seed)
    sides: dict[str | None, set[str | None]] = {}
    for pair, split in zip(items, chosen, strict=True):
        sides.setdefault(pair.scene, set()).add(split)
    assert all(len(side) == 1 for side in sides.values())
    assert {"train", "val"} <= set(chosen)
    assert ("test" in chosen) == (test > 0)


@given(st.integers(30, 60), st.integers(0, 5))
def test_added_pairs_move_no_other(count: int, seed: int) -> None:
    before = split_pairs(pairs(count), SplitBy.pair, 0.2, 0.2, seed)
    after = split_pairs(pairs(2 * count), SplitBy.pair, 0.2, 0.2, seed)
    assert after[:count] == before


def test_the_shares_are_kept() -> None:
    chosen = split_pairs(pairs(5000), SplitBy.auto, 0.2, 0.1, 0)
    assert abs(chosen.count("val") / 5000 - 0.2) < 0.02
    assert abs(chosen.count("test") / 5000 - 0.1) < 0.02
    assert chosen != split_pairs(pairs(5000), SplitBy.auto, 0.2, 0.1, 1)


def test_in_time_no_frame_is_on_both_sides() -> None:
    items = pairs(20)
    chosen = split_pairs(items, SplitBy.time, 0.25, 0.25, 0)
    frames: dict[str, set[str]] = {}
    for pair, split in zip(items, chosen, strict=True):
        if split:
            frames.setdefault(split, set()).update((str(pair.before), str(pair.after)))
    assert not frames["train"] & frames["val"]
    assert max(frames["train"]) < min(frames["val"])
    assert max(frames["val"]) < min(frames["test"])
    assert chosen.count(None) == 4  # the two pairs across each cut


def test_the_column_is_followed_where_it_divides() -> None:
    items = pairs(4, split="train") + [
        FramePair("v", None, Path("v.png"), None, split="val"),
    ]
    assert split_pairs(items, SplitBy.auto, 0.2, 0.0, 0) == ["train"] * 4 + ["val"]
    assert "val" in split_pairs(pairs(30, split="train"), SplitBy.auto, 0.2, 0.0, 0)
    # A set that is kept aside, and says so.
    assert split_pairs(pairs(30, split="test"), SplitBy.auto, 0.2, 0.1, 0) == ["test"] * 30


def test_the_split_of_a_pair_that_cannot_be_used_does_not_count() -> None:
    """Its word may be what is wrong with it."""
    items = [*pairs(3, split="train"), *pairs(1), *pairs(1, split="val")]
    chosen = split_pairs(items, SplitBy.auto, 0.2, 0.0, 0, [0, 1, 2, 4])
    assert [chosen[row] for row in (0, 1, 2, 4)] == ["train"] * 3 + ["val"]
    with pytest.raises(SettingError, match="has no split, 1 of 2 in all"):
        split_pairs(items, SplitBy.column, 0.2, 0.0, 0, [2, 3])


@pytest.mark.parametrize(
    ("by", "val", "message"),
    [
        (SplitBy.scene, 0.2, "has no scene; set data.scene"),
        (SplitBy.column, 0.2, "has no split"),
        (SplitBy.pair, 1.0, "together below 1"),
        (SplitBy.pair, -0.1, "together below 1"),
    ],
)
def test_what_cannot_be_is_refused(by: SplitBy, val: float, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        split_pairs(pairs(5), by, val, 0.0, 0)


def test_a_subset_is_stable() -> None:
    names = [f"p{i}" for i in range(50)]
    chosen = subset(names, 10, 0)
    assert len(set(chosen)) == 10
    assert subset(names, 60, 0) == list(range(50))
    kept = {names[i] for i in chosen} & {f"p{i}" for i in subset([*names, "new"], 10, 0)}
    assert len(kept) >= 9


def test_a_division_may_stay_while_the_seed_varies(data_root: Path) -> None:
    """As in a sweep over seeds, whose runs are then compared on common pairs."""

    def division(*words: str) -> dict[str, list[str]]:
        settings = compose("train", [f"data.root={quoted(str(data_root))}", "data.split_by=pair", *words])
        chosen = {key: settings.data[key] for key in ("split_by", "split_seed", "val", "test")}
        chosen["split_by"] = str(chosen["split_by"])
        comparison = Comparison(Diff.abs)
        data = MovedObjectDataModule(
            str(data_root),
            ["person", "car", "bicycle"],
            unprocessed(),
            comparison,
            seed=settings.seed,
            **chosen,
        )
        data.setup()
        return {split: [pair.pair.name for pair in data.datasets[split].pairs] for split in ("train", "val")}

    assert division("seed=0") != division("seed=1")
    assert division("seed=0") == division("seed=1", "data.split_seed=0")


def test_numbers_without_zeros_are_in_the_order_of_time() -> None:
    items = [FramePair(str(i), Path(f"{i}.jpg"), Path(f"{i + 1}.jpg"), None) for i in range(1, 120)]
    chosen = split_pairs(items, SplitBy.time, 0.2, 0.2, 0)
    kept = [split for split in chosen if split is not None]
    assert kept == sorted(kept, key=["train", "val", "test"].index)


def test_frames_in_folders_of_their_own_are_ordered_by_their_names() -> None:
    items = [FramePair(f"{i}", Path(f"x/before/{i}.png"), Path(f"x/after/{i}.png"), None) for i in range(100)]
    chosen = split_pairs(items, SplitBy.time, 0.2, 0.1, 0)
    assert [chosen.count(split) for split in ("train", "val", "test")] == [70, 20, 10]
    assert chosen == ["train"] * 70 + ["val"] * 20 + ["test"] * 10


def test_a_split_that_only_some_pairs_have_is_refused() -> None:
    items = pairs(8, split="test") + pairs(32)
    with pytest.raises(SettingError, match="pair 'p0' has no split, 32 of 40 in all; name one for each, or"):
        split_pairs(items, SplitBy.auto, 0.2, 0.0, 0)


def test_scenes_divide_only_where_every_pair_has_one() -> None:
    items = pairs(30, scenes=5) + pairs(1)
    assert split_pairs(items, SplitBy.auto, 0.2, 0.1, 0) == split_pairs(items, SplitBy.pair, 0.2, 0.1, 0)


def test_what_to_do_about_an_empty_split() -> None:
    both = pairs(4, split="train") + pairs(4, split="test")
    assert remedy_of_empty(both, SplitBy.auto, 0.2, 0.0).startswith("the split column names none;")
    for items, by in ((both, SplitBy.pair), (pairs(4), SplitBy.auto)):
        assert remedy_of_empty(items, by, 0.2, 0.0) == f"see data.split_by={by} data.val=0.2 data.test=0.0"


def chain(folder: Path, crowded: int) -> Path:
    """Twenty pairs of neighbouring frames; the first ones have two objects."""
    for number in range(21):
        cv2.imwrite(str(folder / f"{number:02d}.png"), np.full((16, 16, 3), 10 * number, np.uint8))
    for number in range(20):
        lines = ["0 0.5 0.5 0.2 0.2", "0 0.3 0.3 0.2 0.2"][: 2 if number < crowded else 1]
        (folder / f"{number:02d}.txt").write_text("\n".join(lines))
    rows = [f"{number:02d}.png,{number + 1:02d}.png,{number:02d}.txt" for number in range(20)]
    (folder / "pairs.csv").write_text("\n".join(["before,after,label", *rows]))
    return folder


def divided(root: Path, **settings: Any) -> dict[str, set[str]]:
    data = MovedObjectDataModule(str(root), ["thing"], unprocessed(), Comparison(Diff.abs), **settings)
    data.setup()
    return {
        split: {pair.pair.name for pair in data.datasets[split].pairs} for split in ("train", "val", "test")
    }


def test_pairs_that_are_left_out_move_no_cut_in_time(tmp_path: Path) -> None:
    """What a model with few queries learnt is no test pair of an evaluation, which takes all pairs."""
    root, division = chain(tmp_path, crowded=8), {"split_by": "time", "val": 0.2, "test": 0.2}
    few = divided(root, max_objects=1, on_error="skip", **division)
    every = divided(root, **division)
    assert len(few["train"]) < len(every["train"])
    for split, names in few.items():
        assert names
        assert names <= every[split]


def test_frames_of_two_splits_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = chain(tmp_path, crowded=0)
    divided(root, split_by="time", val=0.2, test=0.2)
    assert "two splits" not in caplog.text
    divided(root, split_by="pair", val=0.3, test=0.2)
    assert "frame files are used in two splits, as " in caplog.text
    assert "data.split_by=scene or time keeps them apart" in caplog.text
