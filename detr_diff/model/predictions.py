"""From the output of a model to what it found in each frame."""

from typing import Any

from torch import Tensor
from torchvision.ops import box_convert

from detr_diff.model.families import Family, Scores
from detr_diff.model.place_labels import PlaceLabels

NOTHING = -1.0  # the score of what is no prediction; to leave it out, the host would have to wait
Predictions = list[dict[str, Tensor]]


def best_first(
    output: Any, family: Family, sizes: Tensor, place_labels: PlaceLabels | None = None
) -> Predictions:
    """Prediction dicts, best first: boxes [D, 4] xyxy in pixels of the frame, scores, labels.

    They are those of `post_process_object_detection` of the family's image processor, which looks at each
    image by itself and waits for it: here nobody waits, unless places are told apart.

    Args:
        output: Of a model of transformers, for B images.
        family: Of the model.
        sizes: [B, 2], height and width of what the boxes are relative to, in pixels of the frames.
        place_labels: Of a model that tells places apart: it then gives places [D], too; 0 old
            (before), 1 new (after).
    """
    logits, boxes = output.logits.detach().float(), output.pred_boxes.detach().float()
    queries, classes = logits.shape[1:]
    if family.scores is Scores.softmax:
        scores, labels = logits.softmax(-1)[..., :-1].max(-1)
        scores, chosen = scores.sort(stable=True, dim=1, descending=True)
        labels = labels.gather(1, chosen)
    else:
        most = min(family.most_predictions or queries, queries * classes)
        scores, places = logits.sigmoid().flatten(1).topk(most)
        chosen, labels = places // classes, places % classes
    scale = sizes.flip(1).repeat(1, 2).to(boxes.device, non_blocking=True)
    corners = box_convert(boxes, "cxcywh", "xyxy").gather(1, chosen[..., None].expand(-1, -1, 4))
    scores = scores.masked_fill(scores <= 0, NOTHING)  # what is no number stays, to be told
    columns = {"scores": scores, "labels": labels, "boxes": corners * scale[:, None]}
    result = [{key: column[image] for key, column in columns.items()} for image in range(len(logits))]
    if place_labels is not None:
        result = [place_labels.fold(prediction) for prediction in result]
    return result
