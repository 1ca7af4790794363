import json
from dataclasses import replace

import numpy as np
import pytest

from detr_diff.evaluation.analysis import analyse
from detr_diff.evaluation.bootstrap import Units
from detr_diff.evaluation.confusion import Confusion
from detr_diff.evaluation.detection_metrics import figures, more_figures
from detr_diff.evaluation.error_parts import KINDS, find_errors
from detr_diff.evaluation.record import Record
from detr_diff.evaluation.tables import by_topic, tables
from detr_diff.text import render
from tests.evaluation.scenes import NAMES, record, scene


def all_figures(own: Record, names: list[str]) -> dict[str, float]:
    return figures(own, names, 0.4)[0] | more_figures(own, names, 0.4)


def test_the_parts_belong_together() -> None:
    own = record(*scene(4, images=40))
    found = analyse(own, NAMES, 0.4, [f"scene{index % 8}" for index in range(40)], resamples=30, seed=3)
    assert (found.units.kind, found.units.number) == ("scene", 8)
    assert set(found.intervals) <= set(all_figures(own, NAMES))
    assert sum(found.objects.values()) == len(own.object_labels)
    assert sum(found.objects_by_size[size] for size in ("smallest", "middle", "largest")) == len(
        own.object_labels
    )
    assert found.still_pairs == 40 - len(np.unique(own.object_image))
    assert found.errors == find_errors(own.above(0.4)).counts()
    assert found.confusion.counts[:-1].sum() == len(own.object_labels)
    assert float(found.calibration.error()) == pytest.approx(all_figures(own, NAMES)["ece"])


def test_a_confusion_matrix_that_does_not_fit_is_a_list_of_the_most_frequent() -> None:
    own = record(*scene(4, images=40))
    analysis = analyse(own, NAMES, 0.4, [None] * 40, resamples=0)
    counts = np.diag(np.full(31, 500))
    counts[3, 7], counts[5, 30], counts[30, 2] = 31, 22, 13
    wide = Confusion([*(f"class {number}" for number in range(30)), "background"], counts, 0.4, 0.5)
    shown = render(by_topic(all_figures(own, NAMES), replace(analysis, confusion=wide), "a run")["confusion"])
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if "│" in line]
    assert rows == [
        ["class 3", "class 7", "31"],
        ["class 5", "not found", "22"],
        ["nothing there", "class 2", "13"],
    ]
    assert "the most frequent 3 of 3 confusions" in shown
    assert "500" not in shown


def test_the_facts_are_json_without_nan() -> None:
    own = record(*scene(4, images=10))
    facts = analyse(own, NAMES, 0.4, [None] * 10, resamples=10).facts("test/")
    text = json.dumps(facts, allow_nan=False)
    assert json.loads(text) == facts
    assert facts["intervals"]["test/map_large"] == [None, None]
    assert facts["sizes"]["largest"]["area_to"] is None
    caution = "no scenes are named, so pairs count as independent, which those of one scene are not"
    caution += "; so few pairs show too little variety"
    assert facts["bootstrap"] == {
        "drawn": "pair",
        "number": 10,
        "caution": caution,
        "resamples": 10,
        "seed": 0,
    }
    assert set(facts["errors"]) == set(KINDS)
    named_all = analyse(own, ["all", *NAMES[1:]], 0.4, [None] * 10, resamples=0).facts("test/")
    assert sum(named_all["objects_by_class"].values()) == named_all["objects"] == len(own.object_labels)
    assert analyse(own, NAMES, 0.4, [None] * 10, resamples=0).facts("test/")["intervals"] == {}


@pytest.mark.parametrize(
    ("scenes", "kind", "caution"),
    [
        ([f"s{index % 3}" for index in range(60)], "pair", "only 3 scenes are named, so pairs count as"),
        (["s", None] * 30, "pair", "only 1 scene is named"),
        ([f"s{index % 6}" for index in range(60)], "scene", "so few scenes show too little variety"),
        ([f"s{index % 30}" for index in range(60)], "scene", None),
        (["a", "b", "c"], "pair", "so few pairs show too little variety"),
    ],
)
def test_why_intervals_are_too_narrow(scenes: list[str | None], kind: str, caution: str | None) -> None:
    units = Units.of(scenes)
    assert units.kind == kind
    assert (units.caution or "").startswith(caution or "")
    assert (units.caution is None) == (caution is None)


def test_the_tables_say_it_all() -> None:
    own = record(*scene(4, images=40))
    found = all_figures(own, NAMES)
    analysis = analyse(own, NAMES, 0.4, [None] * 40, resamples=20)
    text = "".join(render(table) for table in tables(found, analysis, "a run"))
    for words in ("a run", "20 resamples of 40 pairs", "by class", "√area", "confusion", "TIDE", "score"):
        assert words in text
    low, high = analysis.intervals["map_50"]
    line = next(line for line in text.splitlines() if "│ map_50 " in line)
    assert f"{found['map_50']:.4f}" in line
    assert f"{low:.3f} to {high:.3f}" in line
    assert "still pairs with a false alarm (" in text
    assert "nan" not in text
    assert max(map(len, text.splitlines())) <= 110
    few = analyse(own, NAMES, 0.4, [f"s{index % 6}" for index in range(40)], resamples=5)
    assert "probably too narrow" in "".join(render(table) for table in tables(found, few, "a run"))
    single = own.any_class()
    one = tables(all_figures(single, ["all"]), analyse(single, ["all"], 0.4, [None] * 40, 0), "a run")
    text = "".join(render(table) for table in one)
    for words in ("any_class", "interval", "by class"):
        assert words not in text


def test_a_record_is_kept(tmp_path) -> None:
    own = record(*scene(4))
    own.save(tmp_path / "record.npz")
    for one, other in zip(own, Record.load(tmp_path / "record.npz"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_nothing_at_all_is_analysed() -> None:
    own = record([], [])
    analysis = analyse(own, NAMES, 0.5, [], resamples=5)
    assert analysis.intervals == {}
    assert tables(all_figures(own, NAMES), analysis, "nothing")
