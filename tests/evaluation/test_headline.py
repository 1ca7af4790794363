import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchmetrics.functional.classification import binary_calibration_error

from detr_diff.evaluation import bootstrap
from detr_diff.evaluation.bootstrap import Units, draw, interval
from detr_diff.evaluation.calibration import BINS, LOWEST
from detr_diff.evaluation.detection_metrics import figures, more_figures
from detr_diff.evaluation.headline import Headline
from detr_diff.evaluation.record import Record
from tests.evaluation.scenes import NAMES, Boxes, record, scene


def repeated(predictions: list[Boxes], truths: list[Boxes], times: np.ndarray) -> Record:
    rows = np.repeat(np.arange(len(times)), times)
    return record([predictions[row] for row in rows], [truths[row] for row in rows])


def one(values: dict[str, np.ndarray], row: int = 0) -> dict[str, float]:
    return {key: float(value[row]) for key, value in values.items()}


def same(first: dict[str, tuple], second: dict[str, tuple]) -> bool:
    return np.array_equal([*first.values()], [*second.values()], equal_nan=True)


@settings(max_examples=6)
@given(st.integers(0, 10_000), st.booleans())
def test_the_figures_are_those_of_the_evaluation(seed: int, whole: bool) -> None:
    own = record(*scene(seed, whole=whole))
    found, sweep = figures(own, NAMES, 0.4)
    values = one(Headline(own, NAMES, 0.4).values())
    for key in set(found) & set(values):
        assert values[key] == pytest.approx(found[key], abs=1e-12, nan_ok=True), key
    assert {"map", "map_50", "map_small", "mar_100", "map/a", "precision", "recall", "f1"} <= set(values)
    assert values["best_f1"] == pytest.approx(sweep.f1[0, 0].max())
    assert values["best_threshold"] == sweep.best_threshold()
    any_class, any_sweep = figures(own.any_class(), ["all"], 0.4)
    assert values["map_50_any_class"] == pytest.approx(any_class["map_50"], nan_ok=True)
    assert values["map_any_class"] == pytest.approx(any_class["map"], nan_ok=True)
    assert values["f1_any_class"] == pytest.approx(any_sweep.at(0.4)[2])
    assert set(values) < set(more_figures(own, NAMES, 0.4))


@settings(max_examples=6)
@given(st.integers(0, 10_000))
def test_a_weight_is_as_many_copies_of_the_image(seed: int) -> None:
    predictions, truths = scene(seed, images=7)
    times = np.random.default_rng(seed).integers(0, 4, (2, 7))
    headline = Headline(record(predictions, truths), NAMES, 0.3)
    weighted = headline.values(times)
    for row, own in enumerate(times):
        copies = one(Headline(repeated(predictions, truths, own), NAMES, 0.3).values())
        third = [key for key in copies if key.endswith(("smallest", "middle", "largest"))]
        for key in set(copies) - set(third):  # copies move the edges of the thirds
            assert float(weighted[key][row]) == pytest.approx(copies[key], nan_ok=True, abs=1e-12), key


def test_false_alarms_are_counted_where_nothing_moved() -> None:
    predictions, truths = scene(1, images=40)
    own = record(predictions, truths)
    values = one(Headline(own, NAMES, 0.5).values())
    alarms = [
        int((prediction["scores"] >= 0.5).sum())
        for prediction, truth in zip(predictions, truths, strict=True)
        if not len(truth["labels"])
    ]
    assert 0 < np.mean([number > 0 for number in alarms]) < 1
    assert values["false_positive_rate"] == pytest.approx(np.mean([number > 0 for number in alarms]))
    assert values["false_positives_per_still_pair"] == pytest.approx(np.mean(alarms))


def test_no_false_alarm_in_a_few_pairs_proves_little() -> None:
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}
    headline = Headline(record([nothing | {"scores": torch.zeros(0)}] * 20, [nothing] * 20), NAMES, 0.5)
    intervals = headline.intervals(Units.of([None] * 20), 20, 0)
    assert intervals["false_positive_rate"] == (0.0, pytest.approx(1 - 0.025 ** (1 / 20)))
    assert intervals["false_positives_per_still_pair"] == (0.0, pytest.approx(-np.log(0.025) / 20))
    assert np.isnan(intervals["map"]).all()


def test_calibration_is_that_of_torchmetrics() -> None:
    own = record(*scene(9, images=60))
    headline = Headline(own, NAMES, 0.5)
    kept = own.scores >= LOWEST
    scores, hits = own.scores[kept], headline.matches.hits(0)[kept]
    expected = binary_calibration_error(torch.tensor(scores), torch.tensor(hits).long(), BINS, "l1")
    assert one(headline.values())["ece"] == pytest.approx(float(expected), abs=1e-6)
    bins = headline.calibration.of_images(np.ones((1, 60), np.int64))
    assert bins.made.sum() == kept.sum()
    for row in type(bins)(bins.made[0], bins.hits[0], bins.scores[0]).facts()["bins"]:
        inside = (scores >= row["from"]) & (scores < row["to"])
        assert row["predictions"] == inside.sum()
        assert row["mean_score"] == pytest.approx(scores[inside].mean())
        assert row["precision"] == pytest.approx(hits[inside].mean())


def test_intervals_are_pure_and_hold_the_figure() -> None:
    own = record(*scene(3, images=40))
    headline, units = Headline(own, NAMES, 0.3), Units.of([None] * 40)
    intervals = headline.intervals(units, 100, 1)
    assert same(headline.intervals(units, 100, 1), intervals)
    assert not same(headline.intervals(units, 100, 2), intervals)
    values = one(headline.values())
    for key in ("map", "map_50", "mar_100", "precision", "recall", "f1", "best_threshold", "map/a"):
        low, high = intervals[key]
        assert low <= values[key] <= high
        assert 0 < high - low < 0.7, key


def test_intervals_do_not_depend_on_how_many_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    headline, units = Headline(record(*scene(3, images=12)), NAMES, 0.3), Units.of([None] * 12)
    whole = headline.intervals(units, 30, 0)
    parts = bootstrap.chunks(30, 1, at_once=7)
    monkeypatch.setattr("detr_diff.evaluation.headline.chunks", lambda *_: parts)
    assert same(headline.intervals(units, 30, 0), whole)


def test_copies_in_a_scene_prove_nothing() -> None:
    """Ten scenes of four equal pairs are as sure as ten pairs, not as forty."""
    predictions, truths = scene(5, images=10)
    times = np.full(10, 4)
    single = Headline(record(predictions, truths), NAMES, 0.3)
    copies = Headline(repeated(predictions, truths, times), NAMES, 0.3)
    scenes = [f"scene{index:02d}" for index in np.repeat(np.arange(10), 4)]
    expected = single.intervals(Units.of([None] * 10), 100, 0)
    by_scene = copies.intervals(Units.of(scenes), 100, 0)
    for key in ("map", "map_75", "f1", "best_threshold", "ece"):
        assert by_scene[key] == pytest.approx(expected[key])
    by_pair = copies.intervals(Units.of([None] * 40), 100, 0)
    assert np.diff(by_pair["map"]) < 0.8 * np.diff(by_scene["map"])


def test_what_is_drawn() -> None:
    assert Units.of(["a", "b", "c", "d"]).kind == "pair"  # too few scenes
    assert Units.of(["a", "b", "c", "d", "e", None]).kind == "pair"
    assert Units.of(["c", "a", "b", "a", "d", "e"]).kind == "pair"
    units = Units.of(["c", "a", "b", "a", "d", "e", "f"])
    assert (units.kind, units.number, units.of_image.tolist()) == ("scene", 6, [2, 0, 1, 0, 3, 4, 5])
    drawn = draw(units, 0, range(50))
    assert (drawn[:, 1] == drawn[:, 3]).all()  # pairs of a scene stay together
    assert (drawn[:, [0, 1, 2, 4, 5, 6]].sum(1) == 6).all()
    assert np.array_equal(draw(units, 0, range(10, 20)), drawn[10:20])


def test_an_interval_is_that_of_scipy() -> None:
    values = np.random.default_rng(0).exponential(size=80)
    units = Units.of([None] * 80)
    means = draw(units, 0, range(4000)) @ values / 80
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=1)
    assert interval(means, 10**9) == pytest.approx(tuple(theirs.confidence_interval), abs=0.02)
    assert interval(np.array([np.nan, 1.0, np.nan]), 80) == (1.0, 1.0)
    assert np.isnan(interval(means, 5)).all()


@pytest.mark.parametrize("number", [6, 10, 30])
def test_an_interval_of_few_units_is_that_of_student(number: int) -> None:
    """Of means; the middle 95 % would be 1.4 times too narrow with six, 1.05 times with thirty."""
    values = np.random.default_rng(1).normal(size=number)
    # Resamples of many, whose spread is that of the few, without the lumps that so few make.
    means = np.random.default_rng(2).normal(values.mean(), values.std() / np.sqrt(number), 200_000)
    theirs = stats.t.interval(0.95, number - 1, values.mean(), values.std(ddof=1) / np.sqrt(number))
    assert interval(means, number) == pytest.approx(theirs, rel=0.05, abs=0.02)


def test_rates_of_a_class_without_objects_are_not_defined() -> None:
    """Zeros would count as the worst result in a mean over classes."""
    own = record(*scene(4, images=40))
    names = [*NAMES, "bus"]
    found, _ = figures(own, names, 0.4)
    assert [key for key, value in found.items() if key.endswith("/bus") and not np.isnan(value)] == []
    guessed = own._replace(labels=np.where(np.arange(len(own.labels)) % 5, own.labels, 3))
    found, _ = figures(guessed, names, 0.0)
    assert np.isnan(found["recall/bus"])
    assert found["precision/bus"] == found["f1/bus"] == 0.0
    assert not any(np.isnan(found[f"recall/{name}"]) for name in NAMES)


def test_resamples_without_objects_say_nothing_of_rates() -> None:
    """All objects are in one scene of six, and all are found: no resample finds fewer."""
    box = {"boxes": torch.tensor([[0.0, 0, 20, 20]]), "labels": torch.tensor([0])}
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}
    truths = [box] * 5 + [nothing] * 25
    predictions = [{**truth, "scores": torch.ones(len(truth["labels"]))} for truth in truths]
    units = Units.of([f"scene {index // 5}" for index in range(30)])
    headline = Headline(record(predictions, truths), NAMES, 0.5)
    resampled = headline.resampled(units, 200, 0)
    empty = np.isnan(resampled["map"])
    assert 0.2 < empty.mean() < 0.5
    for key in ("precision", "recall", "f1", "f1_any_class", "best_f1", "best_threshold"):
        np.testing.assert_array_equal(np.isnan(resampled[key]), empty, err_msg=key)
    intervals = headline.intervals(units, 200, 0)
    assert {intervals[key] for key in ("map", "precision", "recall", "f1", "best_f1")} == {(1.0, 1.0)}


@pytest.mark.parametrize("guessed", [False, True])
def test_where_nothing_moved_no_rate_is_zero_but_of_a_guess(guessed: bool) -> None:
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}
    guess = {"boxes": torch.tensor([[0.0, 0, 20, 20]]), "labels": torch.tensor([0]), "scores": torch.ones(1)}
    silence = {**nothing, "scores": torch.zeros(0)}
    predictions = [guess if guessed else silence, silence]
    own = record(predictions, [nothing] * 2)
    found, _ = figures(own, NAMES, 0.5)
    values = one(Headline(own, NAMES, 0.5).values())
    for key in ("precision", "recall", "f1"):
        expected = 0.0 if guessed and key != "recall" else np.nan
        assert found[key] == pytest.approx(expected, nan_ok=True)
        assert values[key] == pytest.approx(expected, nan_ok=True)
    assert np.isnan(values["best_f1"])


def test_a_scene_without_false_alarms_counts_once() -> None:
    """A camera that always alarms is seen in one scene of twenty, however many pairs it has."""
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}
    headline = Headline(record([nothing | {"scores": torch.zeros(0)}] * 100, [nothing] * 100), NAMES, 0.5)
    intervals = headline.intervals(Units.of([f"scene {index // 5}" for index in range(100)]), 20, 0)
    assert intervals["false_positive_rate"] == (0.0, pytest.approx(1 - 0.025 ** (1 / 20)))
    assert intervals["false_positives_per_still_pair"] == (0.0, pytest.approx(-np.log(0.025) / 20))
