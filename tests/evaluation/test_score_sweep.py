import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detr_diff.evaluation.matching import IOU_THRESHOLDS, match
from detr_diff.evaluation.overlap import overlaps
from detr_diff.evaluation.record import Record
from detr_diff.evaluation.score_sweep import SCORE_THRESHOLDS, Sweep, score_sweep
from tests.evaluation.naive import naive
from tests.evaluation.scenes import CLASSES, record, scene


def sweep_of(own: Record, classes: int = CLASSES) -> Sweep:
    return score_sweep(match(own, overlaps(own)), classes)


@settings(max_examples=12)
@given(st.integers(0, 10_000), st.booleans())
def test_every_threshold_is_as_matched_for_itself(seed: int, whole: bool) -> None:
    predictions, truths = scene(seed, whole=whole)
    sweep = sweep_of(record(predictions, truths))
    for t in (0, 3, 9):
        for s in (0, 20, 45, 90):
            hits, made, objects = naive(predictions, truths, IOU_THRESHOLDS[t], SCORE_THRESHOLDS[s])
            assert float(sweep.precision[0, t, s]) == pytest.approx(hits / max(made, 1))
            assert float(sweep.recall[0, t, s]) == pytest.approx(hits / max(objects, 1))
            assert float(sweep.f1[0, t, s]) == pytest.approx(2 * hits / max(made + objects, 1))


def test_the_classes_add_up() -> None:
    own = record(*scene(2, images=20))
    sweep = sweep_of(own)
    for k in range(CLASSES):
        of_class = own.only(own.labels == k)
        kept = own.object_labels == k
        of_class = of_class._replace(
            object_image=own.object_image[kept],
            object_boxes=own.object_boxes[kept],
            object_labels=own.object_labels[kept],
        )
        alone = sweep_of(of_class)
        for key in ("precision", "recall", "f1"):
            np.testing.assert_allclose(getattr(alone, key)[0], getattr(sweep, key)[1 + k])


def test_the_best_threshold_is_on_the_plateau() -> None:
    box = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    predictions = [{"boxes": box, "scores": torch.tensor([0.7, 0.3]), "labels": torch.zeros(2)}]
    sweep = sweep_of(record(predictions, [{"boxes": box[:1], "labels": torch.zeros(1)}]), 1)
    assert 0.45 <= sweep.best_threshold() <= 0.55
    assert sweep.at(sweep.best_threshold()) == (1.0, 1.0, 1.0)
    assert sweep.at(0.2) == (0.5, 1.0, pytest.approx(2 / 3))
    assert sweep.at(0.7) == (1.0, 1.0, 1.0)
    nothing = record([], [])
    assert sweep_of(nothing).best_threshold() == 0.5
    assert len(sweep.rows()) == 910
