"""Time of AP and the IoU x score sweep, for 2,000 images with 100 predictions each, one thread."""

import contextlib
import csv
import io
import sys
import time
from statistics import median

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchmetrics.detection import MeanAveragePrecision

from detr_diff.evaluation.bootstrap import Units
from detr_diff.evaluation.detection_metrics import DetectionMetrics
from detr_diff.evaluation.headline import Headline

IMAGES, PREDICTIONS, OBJECTS, CLASSES, BATCH = 2000, 100, 12_023, 3, 8


def scenes(seed=0):
    """Some predictions near each object, some of them misnamed, the rest anywhere with low scores."""
    generator = np.random.default_rng(seed)
    predictions, truths = [], []
    for count in generator.multinomial(OBJECTS, np.full(IMAGES, 1 / IMAGES)):
        corner = generator.uniform(0, 600, (count, 2))
        boxes = np.concatenate([corner, corner + generator.uniform(12, 90, (count, 2))], 1)
        labels = generator.integers(0, CLASSES, count)
        near = min(PREDICTIONS // 2, 3 * count)
        chosen = generator.integers(0, count, near) if count else np.zeros(0, int)
        shaken = boxes[chosen] + generator.normal(0, 5, (near, 4))
        shaken[:, 2:] = np.maximum(shaken[:, 2:], shaken[:, :2] + 1)
        named = np.where(generator.random(near) < 0.15, generator.integers(0, CLASSES, near), labels[chosen])
        rest = PREDICTIONS - near
        corner = generator.uniform(0, 600, (rest, 2))
        anywhere = np.concatenate([corner, corner + generator.uniform(12, 90, (rest, 2))], 1)
        scores = np.concatenate([generator.beta(4, 2, near), generator.beta(1, 8, rest)])
        named = np.concatenate([named, generator.integers(0, CLASSES, rest)])
        predictions.append(
            {
                "boxes": torch.from_numpy(np.concatenate([shaken, anywhere])).float(),
                "scores": torch.from_numpy(scores).float(),
                "labels": torch.from_numpy(named),
            }
        )
        truths.append({"boxes": torch.from_numpy(boxes).float(), "labels": torch.from_numpy(labels)})
    return predictions, truths


def pycocotools(predictions, truths):
    """COCOeval on rows that are ready; their making is not timed."""
    rows = [[], []]
    for kind, boxes in ((0, truths), (1, predictions)):
        for image, one in enumerate(boxes):
            for index, (x0, y0, x1, y1) in enumerate(one["boxes"].tolist()):
                row = {"image_id": image, "category_id": int(one["labels"][index])}
                row |= {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)}
                row |= {"id": len(rows[kind]) + 1, "iscrowd": 0}
                rows[kind].append(row | ({"score": float(one["scores"][index])} if kind else {}))
    images, classes = [{"id": i} for i in range(IMAGES)], [{"id": k} for k in range(CLASSES)]

    def run():
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO()
            truth.dataset = {"images": images, "categories": classes, "annotations": rows[0]}
            truth.createIndex()
            judge = COCOeval(truth, truth.loadRes(rows[1]), "bbox")
            judge.evaluate()
            judge.accumulate()
            judge.summarize()
        return float(judge.stats[0])

    return run


def torchmetrics(backend):
    """What detr_diff used before, without AP by class and without the sweep."""

    def run(predictions, truths):
        metric = MeanAveragePrecision(backend=backend)
        metric.warn_on_many_detections = False
        for start in range(0, IMAGES, BATCH):
            metric.update(predictions[start : start + BATCH], truths[start : start + BATCH])
        return float(metric.compute()["map"])

    return run


def ours(predictions, truths, threshold=None):
    """AP, also by class and size, and the sweep; with a threshold all figures of a final evaluation."""
    metrics = DetectionMetrics([str(label) for label in range(CLASSES)])
    for start in range(0, IMAGES, BATCH):
        rows = slice(start, start + BATCH)
        metrics.update(predictions[rows], truths[rows], range(IMAGES)[rows])
    return metrics.compute(threshold)[0]["map"]


def intervals(predictions, truths):
    """1,000 resamples of all headline numbers, from the record."""
    metrics = DetectionMetrics([str(label) for label in range(CLASSES)])
    metrics.update(predictions, truths, range(IMAGES))
    record = metrics.record.compute()

    def run():
        headline = Headline(record, metrics.names, 0.5)
        return headline.intervals(Units.of([None] * IMAGES), 1000, 0)["map"][0]

    return run


def main(path, rounds):
    torch.set_num_threads(1)
    boxes = scenes()
    roads = {
        "pycocotools": pycocotools(*boxes),
        "torchmetrics, faster_coco_eval": lambda: torchmetrics("faster_coco_eval")(*boxes),
        "ours: AP and sweep": lambda: ours(*boxes),
        "ours: all figures": lambda: ours(*boxes, 0.5),
        "ours: 1,000 resamples": intervals(*boxes),
    }
    seconds = {name: [] for name in roads}
    for _ in range(rounds):
        for name, road in roads.items():
            if name.endswith("resamples") and seconds[name]:
                continue
            wall, cpu = time.perf_counter(), time.process_time()
            value = road()
            seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu))
            print(f"{name}: {seconds[name][-1][0]:.2f} s, CPU {seconds[name][-1][1]:.2f} s, map {value:.6f}")
    reference = median(cpu for _, cpu in seconds["pycocotools"])
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("road", "wall_s", "cpu_s", "cpu_over_pycocotools"))
        for name, measured in seconds.items():
            wall, cpu = (median(column) for column in zip(*measured, strict=True))
            rows.writerow((name, f"{wall:.2f}", f"{cpu:.2f}", f"{cpu / reference:.3f}"))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5)
