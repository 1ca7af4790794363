import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detr_diff.evaluation.detection_metrics import DetectionMetrics
from detr_diff.evaluation.detection_record import DetectionRecord
from detr_diff.evaluation.record import Record, ranges, rank_within
from tests.evaluation.scenes import NAMES, record, scene


def equal(first: Record, second: Record) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def together(metrics: list[DetectionRecord]) -> Record:
    """What each of several processes gets, by the metric's own way of putting states together."""
    for metric in metrics:
        # As lists are sent: one tensor for each state, in the order of the processes.
        queue = [torch.cat(getattr(other, name)) for name in metrics[0]._empty for other in metrics]
        parts = iter([queue[i : i + len(metrics)] for i in range(0, len(queue), len(metrics))])
        metric.dist_sync_fn = lambda state, group, parts=parts: next(parts)
        metric.distributed_available_fn = lambda: True
    results = [metric.compute() for metric in metrics]
    assert all(equal(results[0], result) for result in results)
    return results[0]


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.permutations(range(7)), st.integers(0, 7), st.integers(0, 7))
def test_processes_add_up_however_the_images_are_dealt(
    seed: int, order: list, first: int, second: int
) -> None:
    """Uneven numbers of images, a process without any, any order: the record is the same."""
    predictions, truths = scene(seed, images=7)
    metrics = [DetectionRecord() for _ in range(3)]
    low, high = sorted((first, second))
    for metric, part in zip(metrics, (order[:low], order[low:high], order[high:]), strict=True):
        for index in part:
            metric.update([predictions[index]], [truths[index]], [index])
    assert equal(together(metrics), record(predictions, truths))
    assert [len(metric.positions) for metric in metrics] == [1 + low, 1 + high - low, 8 - high]  # as before


def test_an_image_that_two_processes_were_given_counts_once() -> None:
    predictions, truths = scene(3, images=5)
    metrics = [DetectionRecord(), DetectionRecord()]
    metrics[0].update(predictions[:3], truths[:3], [0, 1, 2])
    metrics[1].update(predictions[2:], truths[2:], torch.tensor([2, 3, 4]))
    assert equal(together(metrics), record(predictions, truths))


def test_a_record_is_forgotten() -> None:
    predictions, truths = scene(4)
    metrics = DetectionMetrics(NAMES)
    metrics.update(predictions, truths, range(6))
    first = metrics.compute()[0]
    metrics.reset()
    metrics.update(predictions[:1], truths[:1], [0])
    assert len(metrics.record.compute().images) == 1
    metrics.reset()
    metrics.update(predictions, truths, range(6))
    assert metrics.compute()[0] == pytest.approx(first, nan_ok=True)


def test_predictions_come_by_image_and_score() -> None:
    predictions, truths = scene(8, images=9)
    own = record(predictions, truths)
    assert (np.diff(own.image) >= 0).all()
    assert ((np.diff(own.scores) <= 0) | (np.diff(own.image) > 0)).all()
    for index, (prediction, truth) in enumerate(zip(predictions, truths, strict=True)):
        one = Record.of_image(prediction, truth)
        rows = own.image == index
        assert np.array_equal(one.boxes, own.boxes[rows])
        assert np.array_equal(one.labels, own.labels[rows])
        assert np.array_equal(one.object_boxes, own.object_boxes[own.object_image == index])


def test_the_best_of_each_class_are_kept() -> None:
    predictions, truths = scene(8, images=9, most=30)
    own = record(predictions, truths).best(2)
    for image in range(9):
        for label in range(3):
            scores = predictions[image]["scores"][predictions[image]["labels"] == label]
            kept = own.scores[(own.image == image) & (own.labels == label)]
            assert kept.tolist() == pytest.approx(scores.sort(descending=True).values[:2].tolist())


def test_what_does_not_belong_together_is_refused() -> None:
    predictions, truths = scene(1)
    with pytest.raises(ValueError, match="6 predictions, 6 truths, 5 positions"):
        DetectionRecord().update(predictions, truths, range(5))


def test_a_score_reaches_its_own_threshold() -> None:
    own = record(
        [{"boxes": torch.zeros(2, 4), "scores": torch.tensor([0.7, 0.3]), "labels": torch.zeros(2)}],
        [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}],
    )
    assert own.scores[0] != 0.7
    assert len(own.above(0.7).scores) == 1
    assert len(own.above(0.3).scores) == 2
    assert len(own.above(0.71).scores) == 0


@given(st.lists(st.integers(0, 4), max_size=12))
def test_ranks_and_ranges(groups: list[int]) -> None:
    ranks = rank_within(np.array(groups, np.int64))
    assert ranks.tolist() == [groups[:index].count(group) for index, group in enumerate(groups)]
    starts = np.arange(len(groups)) * 10
    expected = [start + step for start, count in zip(starts, groups, strict=True) for step in range(count)]
    assert ranges(starts, np.array(groups, np.int64)).tolist() == expected
