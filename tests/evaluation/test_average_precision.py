import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detr_diff.evaluation import average_precision
from detr_diff.evaluation.average_precision import averages, interpolated, recall_of_best
from detr_diff.evaluation.detection_metrics import figures
from detr_diff.evaluation.matching import match
from detr_diff.evaluation.object_size import COCO_SIZES, thirds, with_any
from detr_diff.evaluation.overlap import overlaps
from tests.evaluation.scenes import CLASSES, NAMES, coco, record, scene


def of_coco(judge, key: str, limit: int = 2) -> np.ndarray:
    """AP or recall of pycocotools, [A, T, K], nan for -1."""
    values = judge.eval[key]
    if key == "precision":
        values = values.mean(axis=1)
    values = values[..., limit].transpose(2, 0, 1)
    return np.where(values < 0, np.nan, values)


@settings(max_examples=12)
@given(st.integers(0, 10_000), st.booleans())
def test_all_figures_are_those_of_pycocotools(seed: int, whole: bool) -> None:
    predictions, truths = scene(seed, whole=whole)
    own = record(predictions, truths)
    sizes = COCO_SIZES | thirds(own)
    matches = match(own, overlaps(own), sizes=with_any(sizes))
    judge = coco(predictions, truths, sizes)
    found = averages(matches, CLASSES)
    np.testing.assert_allclose(found.precision[0], of_coco(judge, "precision"), atol=1e-9)
    np.testing.assert_allclose(found.recall[0], of_coco(judge, "recall"), atol=1e-9)
    for limit, count in enumerate((1, 10)):
        best = recall_of_best(matches, CLASSES, count)
        np.testing.assert_allclose(best, of_coco(judge, "recall", limit), atol=1e-9)


def test_the_twelve_figures_are_those_of_pycocotools_with_more_than_a_hundred_predictions(capsys) -> None:
    predictions, truths = scene(1, images=3, most=400)
    assert max(len(prediction["labels"]) for prediction in predictions) > 250
    judge = coco(predictions, truths, COCO_SIZES)
    judge.summarize()
    keys = ["map", "map_50", "map_75", "map_small", "map_medium", "map_large", "mar_1", "mar_10", "mar_100"]
    keys += ["mar_small", "mar_medium", "mar_large"]
    found = figures(record(predictions, truths), NAMES)[0]
    expected = np.where(judge.stats < 0, np.nan, judge.stats)
    np.testing.assert_allclose([found[key] for key in keys], expected, atol=1e-9)
    assert 0.05 < found["map_50"] < 1


@settings(max_examples=6)
@given(st.integers(0, 10_000))
def test_weighted_figures_are_those_of_pycocotools_on_repeated_images(seed: int) -> None:
    predictions, truths = scene(seed, images=5)
    weights = np.random.default_rng(seed).integers(0, 4, (3, 5))
    own = record(predictions, truths)
    sizes = COCO_SIZES | thirds(own)
    found = averages(match(own, overlaps(own), sizes=with_any(sizes)), CLASSES, weights)
    for row, times in enumerate(weights):
        repeated = [
            [image for image, n in zip(part, times, strict=True) for _ in range(n)]
            for part in (predictions, truths)
        ]
        judge = coco(*repeated, sizes)
        np.testing.assert_allclose(found.precision[row], of_coco(judge, "precision"), atol=1e-9)
        np.testing.assert_allclose(found.recall[row], of_coco(judge, "recall"), atol=1e-9)


def test_weights_in_parts_are_weights_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    own = record(*scene(3, images=9))
    weights = np.random.default_rng(0).integers(0, 4, (12, 9))
    matches = match(own, overlaps(own))
    whole = averages(matches, CLASSES, weights)
    monkeypatch.setattr(average_precision, "AT_ONCE", 50)
    for one, other in zip(whole, averages(matches, CLASSES, weights), strict=True):
        np.testing.assert_array_equal(one, other)


def test_known_curves() -> None:
    hits, made = np.array([[1, 2]]), np.array([[1, 4]])
    # Precision 1 up to recall 0.5, then 0.5.
    assert interpolated(hits, made, np.array([2]))[0] == pytest.approx((51 * 1 + 50 * 0.5) / 101)
    assert interpolated(hits, made, np.array([4]))[0] == pytest.approx((26 * 1 + 25 * 0.5) / 101)
    assert interpolated(hits[:, :0], made[:, :0], np.array([3]))[0] == 0
    assert np.isnan(interpolated(hits[:, :0], made[:, :0], np.array([0]))[0])


def test_what_cannot_be_told_is_nan() -> None:
    predictions, truths = scene(2, images=8)
    for prediction, truth in zip(predictions, truths, strict=True):
        prediction["labels"][:], truth["labels"][:] = 1, 1
    found = figures(record(predictions, truths), NAMES)[0]
    assert np.isnan(found["map/a"])
    assert found["map/b"] == pytest.approx(found["map"])
    empty = [{key: value[:0] for key, value in prediction.items()} for prediction in predictions]
    found = figures(record(empty, truths), NAMES)[0]
    assert (found["map"], found["f1"], found["score_threshold"]) == (0.0, 0.0, 0.5)
    assert np.isnan(figures(record([], []), NAMES)[0]["map"])
