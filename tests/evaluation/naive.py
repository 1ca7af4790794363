"""Matching in plain Python, one pair of thresholds at a time."""

from torchvision.ops import box_iou

from tests.evaluation.scenes import Boxes


def naive(predictions: list[Boxes], truths: list[Boxes], iou: float, score: float) -> tuple[int, int, int]:
    """True positives, predictions and objects."""
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
                if overlap >= best:  # of equal ones the last, as in COCO
                    best, chosen = overlap, j
            if chosen is not None:
                free.remove(chosen)
                hits += 1
    return hits, made, objects
