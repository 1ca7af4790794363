"""The loss of a DETR: of all layers at once, equal to that of transformers and faster."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from detr_diff.model.families import ClassLoss
from detr_diff.training.box_overlap import overlap
from detr_diff.training.class_loss import RECIPES, Recipe
from detr_diff.training.decoder_layers import Layers, Predictions, every_layer, every_real_time_layer
from detr_diff.training.loss_scale import BatchLoss, Divisors, Part
from detr_diff.training.matcher import Match, Objects, denoising_match, match

Labels = Sequence[Mapping[str, Tensor]]
Result = tuple[Tensor, BatchLoss, None]  # loss, loss_dict and auxiliary_outputs of the model's output


def give_loss(detr: Any, class_loss: ClassLoss) -> None:
    """Give a model of transformers our loss; the loss_dict of its output is then a BatchLoss."""
    own = class_loss is ClassLoss.transformers
    detr.loss_function = TransformersLoss(detr.loss_function) if own else Criterion(class_loss)


class Criterion:
    """What a model of transformers calls with its predictions and its labels.

    Args:
        class_loss: How the classes are learnt.
    """

    def __init__(self, class_loss: ClassLoss) -> None:
        self.class_loss = class_loss

    def __call__(
        self,
        logits: Tensor,
        labels: Labels,
        device: torch.device,
        pred_boxes: Tensor,
        config: Any,
        outputs_class: Tensor | None = None,
        outputs_coord: Tensor | None = None,
        **more: Any,
    ) -> Result:
        """The loss of a batch; see decoder_layers.py for what a model hands over.

        Args:
            logits: float [B, Q, C], of the last layer.
            labels: Target dicts.
            device: Not looked at.
            pred_boxes: float [B, Q, 4] cxcywh, of the last layer.
            config: Of the model: costs and weights.
            outputs_class: The logits of every layer.
            outputs_coord: The boxes of every layer.
            more: What RT-DETR says of its picked and its denoising queries.
        """
        last, every = Layers(logits[None], pred_boxes[None]), None
        if config.auxiliary_loss and outputs_class is not None and outputs_coord is not None:
            every = Layers(outputs_class, outputs_coord)
        if self.class_loss is ClassLoss.varifocal:
            picked = Layers(more["enc_topk_logits"], more["enc_topk_bboxes"])
            predictions = every_real_time_layer(last, every, picked, more["denoising_meta_values"])
        else:
            predictions = every_layer(last, every)
        return self._loss(predictions, Objects.of(labels), config)

    def _loss(self, predictions: Predictions, objects: Objects, config: Any) -> Result:
        layers, denoising, meta = predictions
        recipe = RECIPES[self.class_loss]
        weights = recipe.weights(config)
        matched = match(layers, objects, recipe.costs(config))
        sums = layer_sums(recipe, layers, objects, matched, config)
        total = {name: weights[name] * values.sum() for name, values in sums.items()}
        if denoising is not None and meta is not None:
            known = denoising_match(denoising, objects, meta)
            for name, values in layer_sums(recipe, denoising, objects, known, config).items():
                total[name] = total[name] + weights[name] / meta["dn_num_group"] * values.sum()
        by_queries = self.class_loss is ClassLoss.cross_entropy
        per_query = total.pop(recipe.name) if by_queries else 0.0
        per_object = torch.stack(list(total.values())).sum()
        if not matched.finite:
            # Said aloud: the query with the box that is no number might not be matched.
            per_object = per_object * torch.nan
        own = _divisors(layers, objects, getattr(config, "eos_coefficient", 1.0))
        count = sum(objects.counts)
        by = {recipe.name: own.queries} if by_queries else {}
        # Those of RT-DETR as transformers reports them, weighted.
        scales = weights if self.class_loss is ClassLoss.varifocal else dict.fromkeys(sums, 1.0)
        parts = {
            name: Part(scales[name] * values[-1].detach(), by.get(name, count))
            for name, values in sums.items()
        }
        if self.class_loss is not ClassLoss.varifocal:
            errors = _cardinality_errors(layers.logits[-1], objects, softmax=by_queries)
            parts["cardinality_error"] = Part(errors.sum(), len(errors))
        loss = BatchLoss(per_object, per_query, own, parts)
        return loss.divided(own), loss, None


class TransformersLoss:
    """The loss of transformers itself, for a model that has losses of its own.

    Args:
        loss_function: Of transformers. It divides by the number of objects.
    """

    def __init__(self, loss_function: Callable[..., Any]) -> None:
        self.loss_function = loss_function

    def __call__(
        self,
        logits: Tensor,
        labels: Labels,
        device: torch.device,
        pred_boxes: Tensor,
        *given: Any,
        **named: Any,
    ) -> Result:
        """The loss of a batch; the arguments are those of a Criterion."""
        count = sum(len(label["class_labels"]) for label in labels)
        own = Divisors(max(1, count))
        try:
            loss, losses, _ = self.loss_function(logits, labels, device, pred_boxes, *given, **named)
        except ValueError:
            if bool(pred_boxes.isfinite().all()) and bool(logits.isfinite().all()):
                raise
            # Its matcher refuses predictions that are no numbers.
            loss, losses = (logits.sum() + pred_boxes.sum()) * torch.nan, {}
        # Those of the other layers end in a number.
        last = {name: value.detach() for name, value in losses.items() if not name[-1].isdigit()}
        parts = {name: Part(value * own.objects, count) for name, value in last.items()}
        return loss, BatchLoss(loss * own.objects, 0.0, own, parts), None


def layer_sums(
    recipe: Recipe, layers: Layers, objects: Objects, matched: Match, config: Any
) -> dict[str, Tensor]:
    """The parts of the loss, each summed up in each layer, float [L]."""
    amount = len(layers.logits)
    boxes = layers.boxes.reshape(-1, 4).index_select(0, matched.queries).T
    wanted = objects.boxes.index_select(0, matched.objects).T
    iou, generalized = overlap(boxes, wanted)
    logits, classes = layers.logits.reshape(-1, layers.logits.shape[-1]), objects.classes[matched.objects]
    learnt = recipe.loss(logits, matched.queries, classes, iou.detach(), config)
    return {
        recipe.name: learnt.view(amount, -1).sum(1),
        "loss_bbox": (boxes - wanted).abs().sum(0).view(amount, -1).sum(1),
        "loss_giou": (1 - generalized).view(amount, -1).sum(1),
    }


def _divisors(layers: Layers, objects: Objects, no_object_weight: float) -> Divisors:
    size, queries = layers.logits.shape[1:3]
    taken = sum(min(count, queries) for count in objects.counts)
    own = Divisors.of(taken, size * queries, no_object_weight)
    return own._replace(objects=max(1, sum(objects.counts)))


@torch.no_grad()
def _cardinality_errors(logits: Tensor, objects: Objects, *, softmax: bool) -> Tensor:
    """How far the number of predicted objects is off in each image, [B]."""
    found = logits.argmax(-1) < logits.shape[-1] - 1 if softmax else logits.amax(-1).sigmoid() > 0.5
    counts = objects.boxes.new_zeros(len(logits)).index_add_(
        0, objects.images, torch.ones_like(objects.boxes[:, 0])
    )
    return (found.sum(1) - counts).abs()
