import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detr_diff.evaluation.confusion import confusion
from tests.evaluation.scenes import NAMES, record, scene


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([0.05, 0.5, 0.9]))
def test_every_prediction_and_every_object_is_counted_once(seed: int, whole: bool, threshold: float) -> None:
    own = record(*scene(seed, whole=whole))
    counts = confusion(own, NAMES, threshold).counts
    shown = own.above(threshold)
    assert counts[:-1].sum(1).tolist() == np.bincount(own.object_labels, minlength=3).tolist()
    assert counts[:, :-1].sum(0).tolist() == np.bincount(shown.labels, minlength=3).tolist()
    assert counts[-1, -1] == 0


def test_the_same_class_comes_before_the_larger_overlap() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8]])
    truth = {"boxes": boxes[:1], "labels": torch.tensor([1])}
    prediction = {"boxes": boxes, "scores": torch.tensor([0.9, 0.6]), "labels": torch.tensor([0, 1])}
    own = record([prediction], [truth])
    assert confusion(own, NAMES, 0.5).counts.tolist() == [[0] * 4, [0, 1, 0, 0], [0] * 4, [1, 0, 0, 0]]
    assert confusion(own, NAMES, 0.7).counts[1].tolist() == [1, 0, 0, 0]
    assert confusion(own, NAMES, 0.95).counts[1].tolist() == [0, 0, 0, 1]
    facts = confusion(own, NAMES, 0.7).facts()
    assert facts["classes"] == ["a", "b", "c", "background"]
    assert facts["rows_true_columns_predicted"][1][0] == 1
