"""Random scenes judged by other people's programs; the answers are kept for the tests.

Needs a Python of its own with supervision and tidecv, see README.md.
"""

import json
import sys
from pathlib import Path

import numpy as np
import supervision
from supervision.metrics import F1Score, Precision, Recall
from supervision.metrics.core import AveragingMethod
from tidecv import TIDE, Data

CLASSES = 3
SCORES = (0.05, 0.3, 0.6)


def image(generator, apart):
    """True boxes and predictions; `apart`: objects that do not touch each other."""
    count = int(generator.integers(0, 7))
    if apart:
        cells = generator.choice(16, count, replace=False)
        corner = np.stack([cells % 4, cells // 4], 1) * 100 + generator.uniform(5, 15, (count, 2))
        sides = generator.uniform(20, 80, (count, 2))
    else:
        corner, sides = generator.uniform(0, 80, (count, 2)), generator.uniform(15, 70, (count, 2))
    boxes = np.concatenate([corner, corner + sides], 1)
    labels = generator.integers(0, CLASSES, count)
    chosen = generator.integers(0, count, generator.integers(0, 12)) if count else np.zeros(0, int)
    shaken = boxes[chosen] + generator.normal(0, 6, (len(chosen), 4))
    astray = generator.uniform(0, 300, (generator.integers(0, 3), 2))
    shaken = np.concatenate([shaken, np.concatenate([astray, astray + 30], 1)])
    shaken[:, 2:] = np.maximum(shaken[:, 2:], shaken[:, :2] + 1)
    named = np.append(labels[chosen], generator.integers(0, CLASSES, len(astray)))
    named = np.where(generator.random(len(named)) < 0.25, generator.integers(0, CLASSES, len(named)), named)
    return {
        "boxes": np.round(shaken, 2).tolist(),
        "scores": np.round(generator.random(len(shaken)), 4).tolist(),
        "labels": named.astype(int).tolist(),
        "object_boxes": np.round(boxes, 2).tolist(),
        "object_labels": labels.tolist(),
    }


def same_recalls(images):
    """Whether the recall grids of tidecv (j / 100) and COCO (linspace) ask for the same numbers of hits.

    They differ in the last bit, which tells when a recall such as 7 / 20 is on the grid.
    """
    labels = np.concatenate([one["object_labels"] for one in images])
    theirs, coco = np.arange(101) / 100, np.linspace(0, 1, 101)
    numbers = np.bincount(labels.astype(int), minlength=CLASSES)
    shares = [np.arange(number + 1) / number for number in numbers]
    return all(
        np.array_equal(np.searchsorted(share, theirs), np.searchsorted(share, coco)) for share in shares
    )


def supervision_figures(images, score):
    """Precision, recall and F1 by class, and the confusion matrix, of predictions from a score on."""
    predictions, truths = [], []
    for one in images:
        kept = np.array(one["scores"]) >= score
        predictions.append(
            supervision.Detections(
                xyxy=np.array(one["boxes"], np.float32).reshape(-1, 4)[kept],
                confidence=np.array(one["scores"], np.float32)[kept],
                class_id=np.array(one["labels"], int)[kept],
            )
        )
        truths.append(
            supervision.Detections(
                xyxy=np.array(one["object_boxes"], np.float32).reshape(-1, 4),
                class_id=np.array(one["object_labels"], int),
            )
        )
    figures = {}
    for key, kind in (("precision", Precision), ("recall", Recall), ("f1", F1Score)):
        result = kind(averaging_method=AveragingMethod.MICRO).update(predictions, truths).compute()
        figures[key] = getattr(result, f"{key}_scores").tolist()
        figures[f"{key}_per_class"] = getattr(result, f"{key}_per_class").tolist()
        figures["classes"] = np.asarray(result.matched_classes).tolist()
    matrix = supervision.ConfusionMatrix.from_detections(
        predictions, truths, [str(label) for label in range(CLASSES)], score, 0.5
    )
    return figures | {"score": score, "confusion": matrix.matrix.tolist()}


def tide_figures(images):
    """AP50, number of errors and their costs."""
    truth, found = Data("truth"), Data("found")
    for number, one in enumerate(images):
        truth.add_image(number, str(number))
        for (x0, y0, x1, y1), label in zip(one["object_boxes"], one["object_labels"], strict=True):
            truth.add_ground_truth(number, label, [x0, y0, x1 - x0, y1 - y0])
        for (x0, y0, x1, y1), score, label in zip(one["boxes"], one["scores"], one["labels"], strict=True):
            found.add_detection(number, label, score, [x0, y0, x1 - x0, y1 - y0])
    run = TIDE().evaluate(truth, found, pos_threshold=0.5, background_threshold=0.1, mode=TIDE.BOX)
    special = {kind.short_name: cost / 100 for kind, cost in run.fix_special_errors().items()}
    return {
        "map_50": run.ap / 100,
        "counts": {kind.short_name: count for kind, count in run.count_errors().items()},
        "costs": {kind.short_name: cost / 100 for kind, cost in run.fix_main_errors().items()} | special,
    }


def main(path):
    scenes = []
    for seed in range(10):
        generator = np.random.default_rng(seed)
        images = [image(generator, apart=seed % 2 == 0) for _ in range(8)]
        while not same_recalls(images):
            images = [image(generator, apart=seed % 2 == 0) for _ in range(8)]
        scenes.append(
            {
                "apart": seed % 2 == 0,
                "images": images,
                "supervision": [supervision_figures(images, score) for score in SCORES],
                "tide": tide_figures(images),
            }
        )
    text = json.dumps(json.loads(json.dumps(scenes), parse_float=lambda number: round(float(number), 9)))
    Path(path).write_text(text.replace(" ", "") + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
