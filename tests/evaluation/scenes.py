"""Random predictions and true boxes, and the same as rows for pycocotools."""

import contextlib
import io
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from detr_diff.evaluation.detection_record import DetectionRecord
from detr_diff.evaluation.record import Record

CLASSES = 3
NAMES = ["a", "b", "c"]
Boxes = dict[str, Tensor]
Scene = tuple[list[Boxes], list[Boxes]]


def scene(seed: int, images: int = 6, whole: bool = False, most: int = 12) -> Scene:
    """Random truths, and predictions that are some of them shaken, doubled or renamed.

    Whole pixels and rounded scores make many overlaps, areas and scores exactly equal.
    """
    generator = np.random.default_rng(seed)
    predictions, truths = [], []
    for _ in range(images):
        count = generator.integers(0, 6)
        corner = generator.uniform(0, 60, (count, 2))
        boxes = np.concatenate([corner, corner + generator.uniform(8, 60, (count, 2))], 1)
        labels = generator.integers(0, CLASSES, count)
        chosen = generator.integers(0, count, generator.integers(0, most)) if count else np.zeros(0, int)
        shaken = boxes[chosen] + generator.normal(0, 4, (len(chosen), 4))
        astray = generator.uniform(0, 60, (generator.integers(0, 3), 2))
        shaken = np.concatenate([shaken, np.concatenate([astray, astray + 20], 1)])
        shaken[:, 2:] = np.maximum(shaken[:, 2:], shaken[:, :2] + 1)
        renamed = np.append(labels[chosen], generator.integers(0, CLASSES, len(astray)))
        renamed = np.where(generator.random(len(renamed)) < 0.2, 0, renamed)
        scores = generator.random(len(shaken))
        if whole:
            boxes, shaken, scores = boxes.round(), shaken.round(), scores.round(1)
        predictions.append(
            {
                "boxes": torch.from_numpy(shaken).float(),
                "scores": torch.from_numpy(scores).float(),
                "labels": torch.from_numpy(renamed),
            }
        )
        truths.append({"boxes": torch.from_numpy(boxes).float(), "labels": torch.from_numpy(labels)})
    return predictions, truths


def record(predictions: Sequence[Boxes], truths: Sequence[Boxes]) -> Record:
    metric = DetectionRecord()
    metric.update(predictions, truths, range(len(truths)))
    return metric.compute()


def coco(predictions: Sequence[Boxes], truths: Sequence[Boxes], sizes: Mapping[str, tuple]) -> COCOeval:
    """pycocotools, evaluated and accumulated; the first range of area is that of any size."""
    annotations, results = [], []
    for image, (prediction, truth) in enumerate(zip(predictions, truths, strict=True)):
        for box, label in zip(_xywh(truth), truth["labels"].tolist(), strict=True):
            row = {"image_id": image, "category_id": label, "bbox": box, "iscrowd": 0}
            annotations.append(row | {"id": len(annotations) + 1, "area": box[2] * box[3]})
        columns = _xywh(prediction), prediction["scores"].tolist(), prediction["labels"].tolist()
        for box, score, label in zip(*columns, strict=True):
            results.append({"image_id": image, "category_id": label, "bbox": box, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        truth_set = COCO()
        truth_set.dataset = {
            "images": [{"id": image, "width": 200, "height": 200} for image in range(len(truths))],
            "annotations": annotations,
            "categories": [{"id": label} for label in range(CLASSES)],
        }
        truth_set.createIndex()
        judge = COCOeval(truth_set, truth_set.loadRes(results) if results else COCO(), "bbox")
        if not results:
            judge.cocoDt.dataset = {**truth_set.dataset, "annotations": []}
            judge.cocoDt.createIndex()
        judge.params.imgIds = list(range(len(truths)))
        judge.params.catIds = list(range(CLASSES))
        judge.params.areaRng = [[0, 1e10], *sizes.values()]
        judge.params.areaRngLbl = ["all", *sizes]
        judge.evaluate()
        judge.accumulate()
    return judge


def _xywh(boxes: Boxes) -> list[list[float]]:
    return [[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in boxes["boxes"].double().tolist()]
