import contextlib
import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor
from torchvision.ops import box_iou

from detr_diff.evaluation.detection_metrics import DetectionMetrics
from detr_diff.evaluation.matching import match
from detr_diff.evaluation.score_sweep import IOU_THRESHOLDS, SCORE_THRESHOLDS, ScoreSweep

CLASSES = 3
Boxes = dict[str, Tensor]


def scene(seed: int, images: int = 6) -> tuple[list[Boxes], list[Boxes]]:
    """Random truths, and predictions that are some of them shaken, doubled or renamed."""
    generator = np.random.default_rng(seed)
    predictions, truths = [], []
    for _ in range(images):
        count = generator.integers(0, 6)
        corner = generator.uniform(0, 60, (count, 2))
        boxes = np.concatenate([corner, corner + generator.uniform(8, 40, (count, 2))], 1)
        labels = generator.integers(0, CLASSES, count)
        chosen = generator.integers(0, count, generator.integers(0, 12)) if count else np.zeros(0, int)
        shaken = boxes[chosen] + generator.normal(0, 4, (len(chosen), 4))
        shaken[:, 2:] = np.maximum(shaken[:, 2:], shaken[:, :2] + 1)
        renamed = np.where(generator.random(len(chosen)) < 0.2, 0, labels[chosen])
        predictions.append(
            {
                "boxes": torch.from_numpy(shaken).float(),
                "scores": torch.from_numpy(generator.random(len(chosen))).float(),
                "labels": torch.from_numpy(renamed),
            }
        )
        truths.append({"boxes": torch.from_numpy(boxes).float(), "labels": torch.from_numpy(labels)})
    return predictions, truths


def naive(predictions: list[Boxes], truths: list[Boxes], iou: float, score: float) -> tuple[int, int, int]:
    """True positives, predictions and objects, matched again for one pair of thresholds."""
    hits = made = objects = 0
    for prediction, truth in zip(predictions, truths, strict=True):
        free = list(range(len(truth["labels"])))
        objects += len(free)
        order = sorted(range(len(prediction["scores"])), key=lambda i: -float(prediction["scores"][i]))
        for i in order:
            if round(float(prediction["scores"][i]), 6) < score:
                continue
            made += 1
            best, chosen = iou, None
            for j in free:
                if truth["labels"][j] != prediction["labels"][i]:
                    continue
                a, b = prediction["boxes"][i].double(), truth["boxes"][j].double()
                overlap = float(box_iou(a[None], b[None]))
                if overlap >= best and (chosen is None or overlap > best):
                    best, chosen = overlap, j
            if chosen is not None:
                free.remove(chosen)
                hits += 1
    return hits, made, objects


@settings(max_examples=12)
@given(st.integers(0, 10_000))
def test_every_threshold_is_as_matched_for_itself(seed: int) -> None:
    predictions, truths = scene(seed)
    metric = ScoreSweep(CLASSES)
    for prediction, truth in zip(predictions, truths, strict=True):
        metric.update([prediction], [truth])
    sweep = metric.compute()
    for t in (0, 3, 9):
        for s in (0, 20, 45, 90):
            hits, made, objects = naive(predictions, truths, IOU_THRESHOLDS[t], SCORE_THRESHOLDS[s])
            assert float(sweep.precision[0, t, s]) == pytest.approx(hits / max(made, 1))
            assert float(sweep.recall[0, t, s]) == pytest.approx(hits / max(objects, 1))
            assert float(sweep.f1[0, t, s]) == pytest.approx(2 * hits / max(made + objects, 1))


@settings(max_examples=8)
@given(st.integers(0, 10_000))
def test_true_positives_are_those_of_pycocotools(seed: int) -> None:
    predictions, truths = scene(seed, images=10)
    images = [{"id": i, "width": 100, "height": 100} for i in range(10)]
    annotations, results = [], []
    for i, (prediction, truth) in enumerate(zip(predictions, truths, strict=True)):
        for (x0, y0, x1, y1), label in zip(truth["boxes"].tolist(), truth["labels"].tolist(), strict=True):
            box = [x0, y0, x1 - x0, y1 - y0]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": i, "category_id": label, "bbox": box}
                | {"area": box[2] * box[3], "iscrowd": 0}
            )
        for box, score, label in zip(
            *(prediction[k].tolist() for k in ("boxes", "scores", "labels")), strict=True
        ):
            x0, y0, x1, y1 = box
            results.append(
                {"image_id": i, "category_id": label, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": score}
            )
    if not results or not annotations:
        return
    with contextlib.redirect_stdout(io.StringIO()):
        truth_set = COCO()
        truth_set.dataset = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": c} for c in range(CLASSES)],
        }
        truth_set.createIndex()
        judge = COCOeval(truth_set, truth_set.loadRes(results), "bbox")
        judge.evaluate()
    theirs = np.zeros(len(IOU_THRESHOLDS), int)
    for image in judge.evalImgs:
        if image is not None and image["aRng"] == [0, 1e10]:
            kept = np.array(image["dtScores"]) >= SCORE_THRESHOLDS[0]
            theirs += (np.array(image["dtMatches"]) > 0)[:, kept].sum(1)
    metric = ScoreSweep(CLASSES)
    metric.update(predictions, truths)
    ours = metric.true_positives.sum(0)[:, 0].numpy()
    np.testing.assert_array_equal(ours, theirs)


@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 6))
def test_no_object_is_found_twice(seed: int, predictions: int, objects: int) -> None:
    iou = np.random.default_rng(seed).random((predictions, objects))
    thresholds = np.array([0.3, 0.6, 0.9])
    found = match(iou, thresholds)
    assert (found.sum(1) <= min(predictions, objects)).all()
    assert (np.diff(found.sum(1)) <= 0).all()
    assert not found[:, (iou < 0.3).all(1)].any()


def test_the_second_best_object_is_tried() -> None:
    iou = np.array([[0.9, 0.6], [0.8, 0.7]])
    assert match(iou, np.array([0.5])).tolist() == [[True, True]]
    assert match(iou, np.array([0.75])).tolist() == [[True, False]]


def test_processes_add_up() -> None:
    predictions, truths = scene(5)
    whole, first, second = (ScoreSweep(CLASSES) for _ in range(3))
    whole.update(predictions, truths)
    first.update(predictions[:2], truths[:2])
    second.update(predictions[2:], truths[2:])
    for state in ("true_positives", "predictions", "objects"):
        assert torch.equal(getattr(whole, state), getattr(first, state) + getattr(second, state))


def test_the_best_threshold_is_on_the_plateau() -> None:
    box = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    metric = ScoreSweep(1)
    metric.update(
        [{"boxes": box, "scores": torch.tensor([0.7, 0.3]), "labels": torch.zeros(2, dtype=torch.int64)}],
        [{"boxes": box[:1], "labels": torch.zeros(1, dtype=torch.int64)}],
    )
    sweep = metric.compute()
    assert 0.45 <= sweep.best_threshold() <= 0.55
    assert sweep.at(sweep.best_threshold()) == (1.0, 1.0, 1.0)
    assert sweep.at(0.2) == (0.5, 1.0, pytest.approx(2 / 3))
    assert ScoreSweep(1).compute().best_threshold() == 0.5


def test_both_coco_backends_agree() -> None:
    predictions, truths = scene(11, images=20)
    figures = []
    for backend in ("faster_coco_eval", "pycocotools"):
        metrics = DetectionMetrics(["a", "b", "c"])
        metrics.average_precision.backend = backend
        metrics.average_precision._coco_backend.backend = backend
        metrics.update(predictions, truths)
        figures.append(metrics.compute()[0])
    assert figures[0] == pytest.approx(figures[1], abs=1e-6, nan_ok=True)
    assert 0.05 < figures[0]["map_50"] < 1
