"""Agreement with supervision and tidecv, whose answers experiments/evaluation_agreement/ has kept."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from detr_diff.evaluation.confusion import confusion
from detr_diff.evaluation.detection_metrics import figures
from detr_diff.evaluation.detection_record import DetectionRecord
from detr_diff.evaluation.error_parts import ap_costs, find_errors
from detr_diff.evaluation.record import Record

JUDGED = json.loads(Path(__file__).with_name("judged.json").read_text())
NAMES = ["a", "b", "c"]
TIDE_NAMES = {
    "class": "Cls",
    "location": "Loc",
    "both": "Both",
    "duplicate": "Dupe",
    "background": "Bkg",
    "missed": "Miss",
    "false_positives": "FalsePos",
    "false_negatives": "FalseNeg",
}


def record(images: list[dict]) -> Record:
    metric = DetectionRecord()
    columns = [{key: torch.tensor(value) for key, value in image.items()} for image in images]
    predictions = [{key: image[key] for key in ("boxes", "scores", "labels")} for image in columns]
    truths = [{key: image[f"object_{key}"] for key in ("boxes", "labels")} for image in columns]
    metric.update(predictions, truths, range(len(images)))
    return metric.compute()


@pytest.mark.parametrize("scene", JUDGED)
def test_confusion_is_that_of_supervision(scene: dict) -> None:
    own = record(scene["images"])
    for judged in scene["supervision"]:
        np.testing.assert_array_equal(confusion(own, NAMES, judged["score"]).counts, judged["confusion"])


@pytest.mark.parametrize("scene", [scene for scene in JUDGED if scene["apart"]])
def test_precision_recall_and_f1_are_those_of_supervision(scene: dict) -> None:
    """Where a prediction overlaps one object; supervision matches by overlap, COCO and we by score."""
    own = record(scene["images"])
    for judged in scene["supervision"]:
        sweep = figures(own, NAMES)[1]
        column = round((judged["score"] - 0.05) * 100)
        for key in ("precision", "recall", "f1"):
            values = getattr(sweep, key)[:, :, column]
            np.testing.assert_allclose(values[0], judged[key], atol=1e-6)
            rows = 1 + np.array(judged["classes"])
            np.testing.assert_allclose(values[rows], judged[f"{key}_per_class"], atol=1e-6)


@pytest.mark.parametrize("scene", JUDGED)
def test_errors_and_what_they_cost_are_those_of_tide(scene: dict) -> None:
    own, judged = record(scene["images"]), scene["tide"]
    assert figures(own, NAMES)[0]["map_50"] == pytest.approx(judged["map_50"], abs=1e-6)
    errors = find_errors(own)
    assert {TIDE_NAMES[kind]: count for kind, count in errors.counts().items()} == judged["counts"]
    costs = {TIDE_NAMES[kind]: cost for kind, cost in ap_costs(own, errors, len(NAMES)).items()}
    assert costs == pytest.approx(judged["costs"], abs=1e-6)
