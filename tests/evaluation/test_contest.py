from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from detr_diff.errors import UserError
from detr_diff.evaluation.bootstrap import Units, draw
from detr_diff.evaluation.contest import JUDGED, Contest
from detr_diff.evaluation.detection_metrics import figures
from tests.evaluation.contenders import contender, planted, some_pairs
from tests.evaluation.scenes import NAMES, coco, record, scene


@settings(max_examples=3)
@given(st.integers(0, 1000))
def test_the_bootstrap_is_that_of_pycocotools_on_copied_images(seed: int) -> None:
    """Each resample as a data set of its own, in which an image occurs as often as it was drawn."""
    resamples = 12
    truths = scene(seed, images=9)[1]
    runs = [planted_on(truths, number + 2 * seed) for number in (0, 1)]
    contest = Contest.of([contender(name, *own) for name, own in zip("ab", runs, strict=True)], resamples, 5)
    expected: dict[str, list[float]] = {key: [] for key in JUDGED}
    for times in draw(Units.of([None] * 9), 5, range(resamples)):
        rows = np.repeat(np.arange(9), times)
        found = []
        for predictions, _ in runs:
            copied = [predictions[row] for row in rows], [truths[row] for row in rows]
            precision = coco(*copied, {}).eval["precision"][:, :, :, 0, -1]
            at_50, all_ious = (part[part > -1] for part in (precision[0], precision))
            f1 = figures(record(*copied), NAMES, 0.4)[0]["f1"]
            found.append(
                (at_50.mean() if len(at_50) else np.nan, all_ious.mean() if len(all_ious) else np.nan, f1)
            )
        for key, first, second in zip(JUDGED, *found, strict=True):
            expected[key].append(second - first)
    for key, changes in expected.items():
        own = contest.differences[1][key]
        defined = sorted(change for change in changes if not np.isnan(change))
        # Wider than the middle 95 %, as a t distribution of nine is than a normal one.
        tail = stats.norm.cdf(stats.t.ppf(0.025, 8) * np.sqrt(9 / 8))
        low, high = np.quantile(defined, [tail, 1 - tail])
        assert own.interval == pytest.approx((low, high), abs=1e-9)
        other_side = min(
            sum(change <= 1e-12 for change in defined), sum(change >= -1e-12 for change in defined)
        )
        p = min(1, 2 * (1 + other_side) / (1 + len(defined)))
        assert own.p == pytest.approx(2 * stats.t.sf(stats.norm.isf(p / 2) * np.sqrt(8 / 9), 8))


def planted_on(truths: list, seed: int) -> tuple[list, list]:
    """Shaken copies of the objects, some of them missing."""
    import torch

    rng = np.random.default_rng(seed)
    predictions = []
    for truth in truths:
        kept = rng.random(len(truth["labels"])) < 0.7
        boxes = truth["boxes"][kept] + torch.from_numpy(rng.normal(0, 3, (int(kept.sum()), 4))).float()
        boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        scores = torch.from_numpy(rng.random(len(boxes))).float()
        predictions.append({"boxes": boxes, "scores": scores, "labels": truth["labels"][kept]})
    return predictions, truths


def test_equal_runs_are_seldom_called_different_and_a_better_one_is_found() -> None:
    """See experiments/paired_bootstrap/ for more of it."""
    alike, found = [], []
    for seed in range(10):
        runs = [contender(str(n), *planted(0.7, 2 * seed + n, 30, seed)) for n in (0, 1)]
        alike.append([Contest.of(runs, 100, 0).differences[1][key].p for key in JUDGED])
        if seed < 4:
            better = contender("2", *planted(0.95, 1000 + seed, 30, seed))
            found.append([Contest.of([runs[0], better], 100, 0).verdict(1, key) for key in JUDGED])
    assert (np.array(alike) < 0.05).mean(axis=0).max() <= 0.15
    assert np.array(alike).mean() == pytest.approx(0.5, abs=0.2)
    assert np.array(found).mean() > 0.8


def test_the_order_of_labels_does_not_matter() -> None:
    """A tool that rewrites label files may sort them; the boxes may be rounded, too."""
    one = contender("a", *planted(0.7, 1))
    rng = np.random.default_rng(0)
    order = np.lexsort((rng.random(len(one.record.object_image)), one.record.object_image))
    boxes = one.record.object_boxes[order] + rng.uniform(-0.2, 0.2, (len(order), 4))
    shuffled = one.record._replace(object_boxes=boxes, object_labels=one.record.object_labels[order])
    other = replace(one, name="b", record=shuffled)
    assert len(Contest.of([one, other], 100, 0).contenders) == 2
    moved = shuffled._replace(object_boxes=boxes + (np.arange(len(order)) == 3)[:, None] * 2.0)
    with pytest.raises(UserError, match="have other objects in 1 of"):
        Contest.of([one, replace(other, record=moved)], 100, 0)


def test_a_run_does_not_differ_from_itself() -> None:
    one = contender("a", *planted(0.7, 1))
    contest = Contest.of([one, replace(one, name="b"), contender("c", *planted(0.95, 2))], 200, 0)
    for key in JUDGED:
        assert contest.differences[1][key][:3] == (0.0, (0.0, 0.0), 1.0)
        assert contest.verdict(1, key) == 0
        assert contest.corrected[2][key] == pytest.approx(2 * contest.differences[2][key].p)
    assert contest.changed_pairs(1, 5) == []
    assert "b is not shown to differ from a in AP50: +0.000" in contest.sentence(1, "map_50")
    assert "c is better than a in F1" in contest.sentence(2, "f1")
    changed = contest.changed_pairs(2, 5)
    gaps = [abs(after - before) for _, before, after in changed]
    assert len(changed) == 5
    assert gaps == sorted(gaps, reverse=True)


def test_only_common_pairs_count_in_whatever_order() -> None:
    first, second = (contender(name, *planted(0.7, seed)) for name, seed in (("a", 1), ("b", 2)))
    rng = np.random.default_rng(0)
    parts = [some_pairs(first, rng.permutation(40)[:30]), some_pairs(second, rng.permutation(40)[:30])]
    common = [pair for pair in parts[0].pairs if pair in parts[1].pairs]
    contest = Contest.of(parts, 100, 0)
    assert contest.contenders[0].pairs == contest.contenders[1].pairs == common
    rows = [int(pair.removeprefix("pair")) for pair in common]
    whole = Contest.of([some_pairs(first, rows), some_pairs(second, rows)], 100, 0)
    for key, value in whole.values[1].items():
        assert contest.values[1][key] == pytest.approx(value, nan_ok=True)
        assert contest.differences[1][key][2:] == pytest.approx(whole.differences[1][key][2:], nan_ok=True)
    for key, value in figures(some_pairs(second, rows).record, NAMES, 0.4)[0].items():
        if key in contest.values[1]:
            assert contest.values[1][key] == pytest.approx(value, nan_ok=True)


def test_scenes_are_drawn_where_there_are_enough() -> None:
    scenes = [f"scene{index % 8}" for index in range(40)]
    runs = [contender(name, *planted(0.7, seed), scenes) for name, seed in (("a", 1), ("b", 2))]
    assert (Contest.of(runs, 100, 0).units.kind, Contest.of(runs, 100, 0).units.number) == ("scene", 8)


def test_what_cannot_be_compared_is_refused() -> None:
    first, second = (contender(name, *planted(0.7, seed)) for name, seed in (("a", 1), ("b", 2)))
    with pytest.raises(UserError, match=r"class names: a has \['a', 'b', 'c'\], b has \['x'\]"):
        Contest.of([first, replace(second, classes=["x"])], 100, 0)
    with pytest.raises(UserError, match="no pair is common to all runs: a has 10, b has 5"):
        Contest.of([some_pairs(first, range(10)), some_pairs(second, range(20, 25))], 100, 0)
    moved = contender("b", *planted(0.7, 2, truth_seed=3))
    with pytest.raises(UserError, match=r"a and b have other objects in \d+ of 40 common pairs"):
        Contest.of([first, moved], 100, 0)
