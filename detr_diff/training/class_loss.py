"""How classes are learnt, and what the matcher pays for them: what differs between the criteria."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from detr_diff.model.families import ClassLoss
from detr_diff.training.matcher import Costs

FOCAL_GAMMA = 2.0  # transformers reads it from no configuration


@dataclass(frozen=True)
class Recipe:
    """One way to learn classes.

    Attributes:
        name: Of the class loss in the figures.
        loss: (logits [N, C], queries [M], classes [M], iou [M], configuration) to the loss of each
            query, [N]. The queries are those that stand for an object, the IoU is that of their box.
        costs: Configuration to the costs of the matcher.
        weights: Configuration to the weight of each part of the loss.
    """

    name: str
    loss: Callable[[Tensor, Tensor, Tensor, Tensor, Any], Tensor]
    costs: Callable[[Any], Costs]
    weights: Callable[[Any], dict[str, float]]


def _cross_entropy(logits: Tensor, queries: Tensor, classes: Tensor, iou: Tensor, config: Any) -> Tensor:
    no_object = logits.shape[1] - 1
    wanted = classes.new_full(logits.shape[:1], no_object).index_copy_(0, queries, classes)
    weights = logits.new_ones(logits.shape[1])
    weights[no_object].fill_(config.eos_coefficient)
    return functional.cross_entropy(logits, wanted, weights, reduction="none")


def _focal(logits: Tensor, queries: Tensor, classes: Tensor, iou: Tensor, config: Any) -> Tensor:
    wanted = torch.zeros_like(logits)
    wanted.view(-1).index_fill_(0, queries * logits.shape[1] + classes, 1)
    return sigmoid_focal_loss(logits, wanted, config.focal_alpha, FOCAL_GAMMA).sum(1)


def _varifocal(logits: Tensor, queries: Tensor, classes: Tensor, iou: Tensor, config: Any) -> Tensor:
    """The wanted score of an object is the IoU of its box (Zhang et al. 2021, arXiv:2008.13367)."""
    places = queries * logits.shape[1] + classes
    wanted = torch.zeros_like(logits)
    weights = config.focal_loss_alpha * logits.detach().sigmoid().pow(config.focal_loss_gamma)
    for tensor in (wanted, weights):
        tensor.view(-1).index_copy_(0, places, iou)
    return functional.binary_cross_entropy_with_logits(logits, wanted, weights, reduction="none").sum(1)


def _detr_costs(config: Any, focal: tuple[float, float] | None = None) -> Costs:
    return Costs(config.class_cost, config.bbox_cost, config.giou_cost, focal)


def _detr_weights(config: Any) -> dict[str, float]:
    boxes, overlap = config.bbox_loss_coefficient, config.giou_loss_coefficient
    return {"loss_ce": 1.0, "loss_bbox": boxes, "loss_giou": overlap}


RECIPES = {
    ClassLoss.cross_entropy: Recipe("loss_ce", _cross_entropy, _detr_costs, _detr_weights),
    # The alpha of the cost is not that of the loss: transformers has it fixed.
    ClassLoss.focal: Recipe(
        "loss_ce", _focal, lambda config: _detr_costs(config, (0.25, FOCAL_GAMMA)), _detr_weights
    ),
    ClassLoss.varifocal: Recipe(
        "loss_vfl",
        _varifocal,
        lambda config: Costs(
            config.matcher_class_cost,
            config.matcher_bbox_cost,
            config.matcher_giou_cost,
            (config.matcher_alpha, config.matcher_gamma) if config.use_focal_loss else None,
        ),
        lambda config: {
            "loss_vfl": config.weight_loss_vfl,
            "loss_bbox": config.weight_loss_bbox,
            "loss_giou": config.weight_loss_giou,
        },
    ),
}
