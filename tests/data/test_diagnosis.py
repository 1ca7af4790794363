"""Each rule on figures made by hand; planted faults in pictures are in tests/test_data_check.py."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detr_diff.choices import Diff, Places, SplitBy
from detr_diff.data.diagnosis import diagnose
from detr_diff.data.duplicates import Repeated
from detr_diff.data.finding import Evidence, Finding, Level
from detr_diff.data.frame_pair import FramePair
from detr_diff.data.inspection import OWN, Inspection
from detr_diff.data.label_places import without_box
from detr_diff.data.labelled_pairs import LabelledPair
from detr_diff.data.labels import Labels
from detr_diff.data.statistics import Statistics, count
from detr_diff.data.view import View

BLOB = [10, 10, 30, 30, 200, 200, 1]
LOST = [50, 50, 70, 70, 250, 0, 0]
GOOD = Inspection(
    shift=(0.1, 0.0),
    rotation=0.0,
    view=View.same,
    apart=0.0,
    moved=0.1,
    gain=1.0,
    bias=0.0,
    light=0.0,
    same=False,
    brightness=110.0,
    contrast=150.0,
    threshold=16.0,
    still=np.zeros(2, bool),
    in_after=np.ones(2, bool),
    blobs=np.array([BLOB, BLOB]),
    unlabelled=0.02,
    fits={OWN: 0.9, "next pair": 0.1, "previous pair": 0.1, "cy cx h w": 0.1},
)


def statistics(
    boxes: list[tuple[float, ...]] = [(0.5, 0.5, 0.2, 0.2)],  # noqa: B006 - never changed
    classes: tuple[int, ...] = (0, 1),
    splits: tuple[str | None, ...] = ("train", "val"),
    scenes: tuple[str | None, ...] = (None,),
) -> Statistics:
    """Ten pairs with the boxes in turn; classes, splits and scenes too."""
    pairs = []
    for index in range(10):
        own = np.array([boxes[index % len(boxes)]] * 2, np.float32).reshape(-1, 4)
        labels = Labels(np.array([classes[0], classes[-1]], np.int64)[: len(own)], own)
        scene = scenes[index % len(scenes)]
        pairs.append(LabelledPair(FramePair(str(index), Path("b"), Path("a"), None, scene), labels, 100, 200))
    return count(pairs, [splits[index % len(splits)] for index in range(10)], ["person", "car"])


def evidence(*inspections: Inspection, **changes: object) -> Evidence:
    """Ten pairs that look like the inspections in turn."""
    seen = {str(index): (inspections or (GOOD,))[index % max(1, len(inspections))] for index in range(10)}
    return replace(Evidence(statistics(), seen), **changes)


def found(*inspections: Inspection, **changes: object) -> dict[str, Finding]:
    findings = diagnose(evidence(*inspections, **changes))
    assert [f.level for f in findings] == sorted((f.level for f in findings), key=list(Level).index)
    assert all(f.what and f.why and f.remedy for f in findings)
    return {finding.name: finding for finding in findings}


def test_good_data_has_no_findings() -> None:
    assert found() == {}


@pytest.mark.parametrize(
    ("name", "level", "changes"),
    [
        ("labels of another pair", "problem", {"fits": {OWN: 0.1, "next pair": 0.8}}),
        ("labels in another format", "problem", {"fits": {OWN: 0.2, "cy cx h w": 0.8, "next pair": 0.3}}),
        ("labels do not fit", "problem", {"fits": {OWN: 0.02, "next pair": 0.03}}),
        ("labels do not fit", "suspicious", {"fits": {OWN: 0.15}}),
        ("boxes on nothing", "problem", {"still": np.ones(2, bool)}),
        ("one place labelled", "problem", {"unlabelled": 0.5}),
        ("frames of two views", "problem", {"view": View.other, "shift": None}),
        ("frames of two views", "problem", {"view": View.moved, "apart": 60.0, "shift": None}),
        ("camera shake", "suspicious", {"moved": 3.6}),
        ("camera shake", "note", {"moved": 0.7}),
        ("brightness shift", "suspicious", {"light": 14.0}),
        ("brightness shift", "note", {"light": 6.0}),
        ("labels missing", "suspicious", {"blobs": np.array([BLOB, LOST])}),
    ],
)
def test_a_fault_in_every_pair_is_named(name: str, level: str, changes: dict) -> None:
    findings = found(replace(GOOD, **changes))
    assert set(findings) == {name}
    assert findings[name].level == level
    assert len(findings[name].pairs) == 10


def test_a_fault_in_one_pair_is_at_most_a_note() -> None:
    worse = replace(GOOD, still=np.array([True, False]), fits={OWN: 0.1, "next pair": 0.8}, unlabelled=0.9)
    findings = found(worse, *[GOOD] * 9)
    assert {finding.level for finding in findings.values()} == {Level.note}
    assert findings["boxes on nothing"].pairs == {"0": "nothing changed under 1 box"}


AFTER = replace(GOOD, blobs=np.array([BLOB, BLOB, LOST, LOST]), unlabelled=0.5)
BEFORE = replace(AFTER, in_after=np.zeros(2, bool), blobs=AFTER.blobs ^ [0, 0, 0, 0, 0, 0, 1])
EMPTY = replace(
    GOOD, still=np.zeros(0, bool), in_after=np.zeros(0, bool), fits={}, unlabelled=None, blobs=GOOD.blobs[:0]
)


def test_labels_missing_and_one_place_are_told_apart() -> None:
    assert set(found(AFTER, EMPTY)) == {"one place labelled"}
    # Places of both kinds have labels, and places of both kinds have none.
    mixed = replace(AFTER, in_after=np.array([True, False]), blobs=AFTER.blobs.copy())
    mixed.blobs[3, 6] = 1
    assert found(mixed)["labels missing"].level is Level.problem
    assert set(found(mixed, EMPTY)) == {"labels missing"}
    # All places show what is in the after frame: nothing moved, things appeared.
    appeared = replace(AFTER, blobs=AFTER.blobs | [0, 0, 0, 0, 0, 0, 1])
    assert set(found(appeared)) == {"labels missing"}
    changed = replace(EMPTY, blobs=np.array([LOST]))
    assert found(GOOD, changed)["labels missing"].level is Level.problem


def test_swapped_frames_are_named_where_labels_name_one_place() -> None:
    assert "frames swapped" not in found(AFTER)
    assert found(AFTER, AFTER, BEFORE)["frames swapped"].level is Level.problem
    assert set(found(AFTER, AFTER, BEFORE)["frames swapped"].pairs) == {"2", "5", "8"}
    # Two of ten may be flat objects on textured ground.
    assert found(*[AFTER] * 4, BEFORE)["frames swapped"].level is Level.suspicious
    assert found(BEFORE)["frames swapped"].level is Level.suspicious
    assert found(BEFORE, places=Places.after)["frames swapped"].level is Level.problem
    assert "frames swapped" not in found(BEFORE, places=Places.before)
    assert found(AFTER, places=Places.before)["frames swapped"].level is Level.problem


def test_the_convention_is_judged_with_the_diff() -> None:
    after = replace(GOOD, unlabelled=0.5)
    for diff in Diff:
        finding = found(after, diff=diff)["one place labelled"]
        assert finding.level is (Level.problem if diff.symmetric else Level.note)
    assert found(GOOD, places=Places.after)["one place labelled"].level is Level.problem
    assert "one place labelled" not in found(GOOD, places=Places.both)
    contradicted = found(after, places=Places.changed)["one place labelled"]
    assert "dataset.yaml says labels: changed" in contradicted.what


def test_blobs_are_compared_with_labelled_ones() -> None:
    small, thin, large = [0, 0, 5, 5, 20, 0, 1], [0, 0, 90, 3, 250, 0, 1], [0, 0, 20, 20, 220, 10, 1]
    inspection = replace(GOOD, blobs=np.array([BLOB, small, thin, large]))
    assert without_box({"a": inspection})["a"].tolist() == [large]
    nothing = replace(GOOD, blobs=np.array([small, large]))
    assert without_box({"a": nothing})["a"].tolist() == []


def test_copies_and_shared_files_are_problems() -> None:
    copy = Repeated("1", Path("b.png"), "val", "0", Path("a.png"), "train")
    findings = found(repeated=[copy], shared=(3, [copy]))
    assert findings["picture in two splits"].pairs == {"1": "b.png of val is a.png of train"}
    assert findings["frame in two splits"].what.startswith("3 frame files")
    assert {finding.level for finding in findings.values()} == {Level.problem}


@pytest.mark.parametrize(
    ("scenes", "by", "level"),
    [
        (("a", "b", "c"), SplitBy.pair, Level.problem),
        (("a",), SplitBy.auto, Level.suspicious),
        (("a", "b", "c"), SplitBy.column, Level.note),
        (("a", "b", "c"), SplitBy.time, Level.note),
    ],
)
def test_scenes_in_two_splits(scenes: tuple[str, ...], by: SplitBy, level: Level) -> None:
    findings = found(statistics=statistics(scenes=scenes), split_by=by)
    assert findings["scene in two splits"].level is level


def test_scenes_in_one_split_are_fine() -> None:
    kept = statistics(scenes=("a", "b"))
    assert found(statistics=kept, split_by=SplitBy.scene) == {}
    assert found(one_camera=True, split_by=SplitBy.pair)["scene in two splits"].level is Level.suspicious
    assert found(one_camera=True, split_by=SplitBy.time)["scene in two splits"].level is Level.note
    left_out = statistics(scenes=("a",), splits=("train", None))
    assert found(statistics=left_out) == {}


@pytest.mark.parametrize(
    ("name", "level", "made"),
    [
        ("no objects", "problem", {"boxes": [()]}),
        ("class never used", "suspicious", {"classes": (1,)}),
        ("class never used", "note", {"classes": (0,)}),
        ("tiny boxes", "problem", {"boxes": [(0.5, 0.5, 0.01, 0.01)]}),
        ("tiny boxes", "suspicious", {"boxes": [(0.5, 0.5, 0.02, 0.05)]}),
        ("huge boxes", "suspicious", {"boxes": [(0.5, 0.5, 0.95, 0.95)]}),
        ("boxes beyond the frame", "suspicious", {"boxes": [(0.1, 0.5, 0.4, 0.2)]}),
        ("no training pairs", "problem", {"splits": ("val",)}),
    ],
)
def test_faults_in_the_labels_alone(name: str, level: str, made: dict) -> None:
    findings = found(statistics=statistics(**made))
    assert set(findings) == {name}
    assert findings[name].level == level


def test_a_class_that_training_lacks_is_suspicious() -> None:
    some = [(0.5, 0.5, 0.2, 0.2)]
    made = replace(statistics(some), class_labels=np.array([0, 0, 0, 1] * 5, np.int32))
    finding = found(statistics=made)["class not in training"]
    assert "car" in finding.what
    assert finding.level is Level.suspicious


def test_a_sample_is_said_to_be_one() -> None:
    findings = found(inspected={"0": GOOD})
    assert findings["not all pairs looked at"].what.startswith("1 of 10 pairs")
    assert findings["not all pairs looked at"].level is Level.note


def test_pictures_that_show_nothing_are_named_before_all_else() -> None:
    still = replace(GOOD, same=True, still=np.ones(2, bool), fits={})
    assert set(found(still)) == {"before is after"}
    assert found(still, GOOD)["before is after"].level is Level.suspicious
    assert "before is after" not in found(replace(EMPTY, same=True), GOOD)
    dark = replace(GOOD, brightness=4.0, contrast=9.0, still=np.ones(2, bool))
    assert set(found(dark)) == {"frames nearly black"}
    assert found(dark)["frames nearly black"].level is Level.problem
    assert set(found(replace(dark, brightness=200.0))) == {"frames without contrast"}
    assert "frames nearly black" not in found(dark, *[GOOD] * 9)


def test_pairs_of_two_views_say_nothing_of_the_labels_nor_of_the_light() -> None:
    apart = replace(GOOD, view=View.moved, apart=60.0, shift=None, moved=0.0, fits={OWN: 0.0}, unlabelled=0.9)
    apart = replace(apart, light=40.0)
    findings = found(apart, *[GOOD] * 9)
    assert set(findings) == {"frames of two views"}
    assert findings["frames of two views"].level is Level.suspicious
    assert findings["frames of two views"].pairs == {"0": "the frames agree 60 px apart"}
    assert "1 of 10 pairs" in findings["frames of two views"].what


@pytest.mark.parametrize(
    ("names", "spread", "level"),
    [
        (["a", "b", "afternoon_1", *"defghij"], 5.0, Level.note),
        (["a", "b"], 5.0, Level.suspicious),
        (["a", "b"], 60.0, Level.problem),
        (["x/before_001", "x/After-001"], 5.0, Level.problem),
        (["1_before"], 5.0, Level.problem),
    ],
)
def test_pictures_without_a_before_frame_are_told(names: list[str], spread: float, level: Level) -> None:
    """All frames of an export were taken for diffs, and the data were called fine."""
    seen = dict.fromkeys(names, spread)
    finding = found(ready_names=names, ready_spreads=seen)["ready diff images"]
    assert finding.level is level
    assert f"{len(names)} of 10 pairs are a single picture" in finding.what


def test_what_training_takes_out_is_a_note() -> None:
    shaken, lit = replace(GOOD, moved=3.6), replace(GOOD, light=14.0)
    assert found(shaken, aligned=True)["camera shake"].level is Level.note
    assert found(lit, light_compensated=True)["brightness shift"].level is Level.note


def test_a_validation_that_tells_nothing() -> None:
    made = statistics()
    nothing = replace(made, counts=made.counts * (made.split == 0), split=made.split)
    train = np.repeat(made.split == 0, 2)
    nothing = replace(nothing, boxes=made.boxes[train], class_labels=made.class_labels[train])
    assert found(statistics=nothing)["no objects in validation"].level is Level.problem
    assert found(statistics=statistics(splits=("train",))) == {}  # it may be meant so
    one = replace(made, class_labels=np.where(train, made.class_labels, 0).astype(np.int32))
    missing = found(statistics=one)["class not in validation"]
    assert "car (50 % of the training objects)" in missing.what
    # Of five objects, each in two places, all may be persons by chance.
    assert missing.level is Level.note
    many = [np.tile(one.counts, 4), np.tile(one.split, 4), np.tile(one.class_labels, 4)]
    columns = dict(zip(("counts", "split", "class_labels"), many, strict=True))
    more = replace(one, boxes=np.tile(one.boxes, (4, 1)), scene=np.tile(one.scene, 4), **columns)
    more = replace(more, sizes=np.tile(one.sizes, (4, 1)))
    assert found(statistics=more)["class not in validation"].level is Level.suspicious
