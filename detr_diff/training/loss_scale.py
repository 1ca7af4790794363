"""The loss of a batch as its part of the loss of a whole optimizer step."""

from collections.abc import Mapping

import torch
from torch import Tensor

from detr_diff.data.dataset import Contents
from detr_diff.model.families import ClassLossPer


def step_loss(
    loss: Tensor,
    parts: Mapping[str, Tensor],
    own: Contents,
    step: Contents,
    class_loss_per: ClassLossPer,
    queries: int,
    no_object_weight: float,
) -> Tensor:
    """What a batch adds to the loss of its optimizer step.

    The models divide the loss of a batch by the batch's own number of objects. An average of such
    batches is not the loss of all their samples together: an object in a batch with few others
    counts more. This takes the batch's divisor out and puts that of the step in, so that the sum
    over the batches is the loss of one large batch.

    Args:
        loss: Of the batch, as the model gives it.
        parts: The parts that it is the sum of, with those of the auxiliary layers.
        own: What the batch holds.
        step: What all batches of the optimizer step hold, those of other processes included.
        class_loss_per: What the class loss is divided by.
        queries: Of an image.
        no_object_weight: Weight of a query without object in the class loss.

    Returns:
        The batch's summand.
    """
    by_objects = max(1, own.objects) / max(1, step.objects) if own.samples else 0.0
    if class_loss_per is ClassLossPer.boxes:
        return loss * by_objects
    # Weighted cross entropy over all queries: divided by the sum of their weights.
    classes = torch.stack([value for key, value in parts.items() if key.startswith("loss_ce")]).sum()

    def weight(held: Contents) -> float:
        return no_object_weight * held.samples * queries + (1 - no_object_weight) * held.objects

    return (loss - classes) * by_objects + classes * (weight(own) / weight(step))
