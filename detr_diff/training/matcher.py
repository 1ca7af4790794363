"""The matcher: which query of which decoder layer learns from which object."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from detr_diff.training.box_overlap import overlap
from detr_diff.training.decoder_layers import Layers

WORST = float(np.finfo(np.float32).max)


class Objects(NamedTuple):
    """The objects of a batch, image after image.

    Attributes:
        boxes: float32 [N, 4] cxcywh in [0, 1].
        classes: int64 [N].
        images: int64 [N], position of the image in the batch.
        counts: Objects of each image.
    """

    boxes: Tensor
    classes: Tensor
    images: Tensor
    counts: list[int]

    @classmethod
    def of(cls, labels: Sequence[Mapping[str, Tensor]]) -> "Objects":
        """From target dicts."""
        counts = [len(label["class_labels"]) for label in labels]
        boxes = torch.cat([label["boxes"] for label in labels]).float()
        classes = torch.cat([label["class_labels"] for label in labels])
        images = np.repeat(np.arange(len(counts)), counts)
        return cls(boxes, classes, _to(boxes.device, images), counts)


class Costs(NamedTuple):
    """Weights of the parts of the matching cost.

    Attributes:
        classes: Of the class.
        boxes: Of the distance of the boxes (L1).
        overlap: Of the generalized IoU.
        focal: Alpha and gamma of the focal loss, which is then the cost of the class; None: the
            probability is, by softmax.
    """

    classes: float
    boxes: float
    overlap: float
    focal: tuple[float, float] | None


class Match(NamedTuple):
    """Queries and their objects, M in each layer, layer after layer.

    Attributes:
        queries: int64 [L * M], row among all queries [L * B * Q].
        objects: int64 [L * M], row among the objects.
        finite: Whether all costs were numbers.
    """

    queries: Tensor
    objects: Tensor
    finite: bool = True


@torch.no_grad()
def match(layers: Layers, objects: Objects, costs: Costs) -> Match:
    """The cheapest assignment of queries to the objects of their image, in each layer.

    All costs are computed at once and brought to the host at once, the only time that it waits
    for the device. A cost that is no number counts as the worst.
    """
    size, queries = layers.logits.shape[1:3]
    cost = cost_of(layers, objects, costs).cpu().numpy()
    finite = bool(np.isfinite(cost).all())
    if not finite:
        cost = np.nan_to_num(cost, nan=WORST, posinf=WORST, neginf=WORST)
    found = np.empty((2, len(layers.logits), sum(min(count, queries) for count in objects.counts)), np.int64)
    first = end = 0
    for image, count in enumerate(objects.counts):
        place = slice(end, end + min(count, queries))
        for layer in range(len(layers.logits)):
            chosen, query = linear_sum_assignment(cost[first : first + count, layer])
            found[0, layer, place] = (layer * size + image) * queries + query
            found[1, layer, place] = first + chosen
        first, end = first + count, place.stop
    taken, own = _to(layers.logits.device, found).flatten(1)
    return Match(taken, own, finite)


def cost_of(layers: Layers, objects: Objects, costs: Costs) -> Tensor:
    """The cost of each query of its image for each object, float32 [N, L, Q].

    An object is compared with the queries of its own image alone, whatever the others hold.
    """
    boxes = layers.boxes.permute(3, 1, 0, 2).index_select(1, objects.images)
    wanted = objects.boxes.T[:, :, None, None]
    _, generalized = overlap(boxes, wanted)
    distance = (boxes - wanted).abs_().sum(0)
    return (
        _class_cost(layers.logits, objects, costs.focal)
        .mul_(costs.classes)
        .add_(distance, alpha=costs.boxes)
        .sub_(generalized, alpha=costs.overlap)
    )


def _class_cost(logits: Tensor, objects: Objects, focal: tuple[float, float] | None) -> Tensor:
    own = objects.images, objects.classes
    if focal is None:
        return -logits.softmax(-1).permute(1, 3, 0, 2)[own]
    alpha, gamma = focal
    scores = logits.permute(1, 3, 0, 2)[own].sigmoid()
    positive = alpha * (1 - scores) ** gamma * -(scores + 1e-8).log()
    negative = (1 - alpha) * scores**gamma * -(1 - scores + 1e-8).log()
    return positive - negative


def denoising_match(layers: Layers, objects: Objects, meta: Mapping[str, Any]) -> Match:
    """The queries that were made from an object, and that object: nothing is to be solved.

    Args:
        layers: Denoising queries alone.
        objects: What they were made from.
        meta: Of transformers: dn_positive_idx, the queries of each image, in groups of its
            objects; dn_num_group.
    """
    amount, size, queries = layers.logits.shape[:3]
    rows, first = [], 0
    for count in objects.counts:
        rows.append(np.tile(np.arange(first, first + count), meta["dn_num_group"]))
        first += count
    own = _to(layers.logits.device, np.concatenate(rows))
    images = torch.arange(amount, device=own.device)[:, None] * size + objects.images[own]
    return Match((images * queries + torch.cat(meta["dn_positive_idx"])).flatten(), own.repeat(amount))


def _to(device: torch.device, numbers: np.ndarray[Any, Any]) -> Tensor:
    # Without waiting for what the device still does.
    return torch.from_numpy(numbers).to(device, non_blocking=True)
