"""True and predicted boxes drawn on the diff image."""

import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import torch
from matplotlib import font_manager
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.utils import draw_bounding_boxes

from detr_diff.evaluation.link_arrows import draw_arrows
from detr_diff.evaluation.matching import match
from detr_diff.evaluation.overlap import overlaps
from detr_diff.evaluation.record import Record

TRUTH, PREDICTION = (60, 220, 90), (255, 150, 30)
OLD_PLACE = (90, 170, 255)
SHORT_SIDE = 480
LONGEST = 200  # bytes of the name of a file


def above(prediction: dict[str, Tensor], threshold: float) -> dict[str, Tensor]:
    """The predictions with at least that score, as far as they are numbers."""
    kept = (prediction["scores"] >= threshold) & prediction["boxes"].isfinite().all(1)
    return {key: value[kept] for key, value in prediction.items()}


def errors(prediction: dict[str, Tensor], truth: dict[str, Tensor], threshold: float) -> tuple[int, int, int]:
    """True positives, false positives and misses of one image, at IoU 0.5."""
    record = Record.of_image(above(prediction, threshold), truth)
    hits = int(match(record, overlaps(record, 0.5), (0.5,)).hit.sum())
    return hits, len(record.labels) - hits, len(record.object_labels) - hits


def best_and_worst(results: Sequence[tuple[int, int, int]], count: int) -> tuple[list[int], list[int]]:
    """Positions of the best and of the worst images; no image is in both lists.

    Best: no errors, then most objects found. Worst: most errors, then fewest objects found.

    Args:
        results: True positives, false positives and misses of each image.
        count: Length of each list, less when there are fewer images.
    """
    order = sorted(range(len(results)), key=lambda i: (sum(results[i][1:]), -results[i][0], i))
    best = order[: min(count, (len(order) + 1) // 2)]
    worst = [index for index in order[::-1][:count] if index not in best]
    return best, worst


def draw(
    image: Tensor,
    names: Sequence[str],
    prediction: dict[str, Tensor],
    truth: dict[str, Tensor] | None = None,
) -> Tensor:
    """Draw boxes: true ones green, predicted ones orange with class and score.

    Predicted old places are blue, and an arrow leads from there to the new place of the same object.

    Args:
        image: uint8 [C, H, W]; of several the last three channels are shown: the diff of a
            stack, the after frame of both frames.
        names: Class names.
        prediction: boxes [D, 4] xyxy in pixels, scores [D], labels [D]; perhaps places [D] and
            links [D], see `link`.
        truth: boxes [G, 4] xyxy in pixels, labels [G].

    Returns:
        uint8 [3, H', W']; small images are enlarged so that the boxes can be seen.
    """
    picture = image[-3:]
    scale = max(1, round(SHORT_SIDE / min(picture.shape[1:])))
    picture = interpolate(picture[None], scale_factor=scale, mode="nearest")[0]
    font = font_manager.findfont("DejaVu Sans")
    # With one class its name on every box would only hide the picture.
    shown = [f"{name} " if len(names) > 1 else "" for name in names]
    if truth is not None and len(truth["boxes"]):
        labels = [shown[int(label)].strip() for label in truth["labels"]]
        picture = _boxes(picture, truth["boxes"] * scale, labels, [TRUTH] * len(labels), 4, font)
    if len(prediction["boxes"]):
        pairs = zip(prediction["labels"].tolist(), prediction["scores"].tolist(), strict=True)
        labels = [f"{shown[label]}{score:.2f}" for label, score in pairs]
        boxes, places = prediction["boxes"].cpu() * scale, prediction.get("places")
        is_old = [False] * len(labels) if places is None else (places == 0).tolist()
        colours = [OLD_PLACE if old else PREDICTION for old in is_old]
        picture = _boxes(picture, boxes, labels, colours, 2, font)
        if places is not None and "links" in prediction:
            picture = draw_arrows(picture, boxes, places, prediction["links"], PREDICTION)
    return picture


def _boxes(
    picture: Tensor,
    boxes: Tensor,
    labels: list[str],
    colours: list[tuple[int, int, int]],
    width: int,
    font: str,
) -> Tensor:
    height, length = picture.shape[1:]
    limit = torch.tensor([length - 1, height - 1, length - 1, height - 1])
    boxes = boxes.cpu().clamp(min=0).minimum(limit)
    return draw_bounding_boxes(picture, boxes, labels, colors=colours, width=width, font=font, font_size=15)


def file_name(name: str) -> str:
    """A pair's name as part of a file name; the end of a long one is left out."""
    own = re.sub(r"[^\w.-]", "_", name)
    return own if len(own.encode()) <= LONGEST else own[: LONGEST // 4]


def file_names(names: Sequence[str]) -> list[str]:
    """Pairs' names as names of files; those that would be the same or too long get a number."""
    made: dict[str, None] = {}
    for number, name in enumerate(names):
        own = file_name(name)
        while own in made:  # another pair may be called what this one would be with its number
            own += f"-{number}"
        made[own] = None
    return list(made)


def write(path: Path, picture: Tensor) -> None:
    """Write a picture, uint8 [3, H, W], as PNG.

    Raises:
        OSError: It could not be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not torchvision: it takes ten times as long.
    if not cv2.imwrite(str(path), cv2.cvtColor(picture.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2BGR)):
        raise OSError(f"{path}: could not be written")
