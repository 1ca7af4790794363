"""From the output of a model to what it found in each frame."""

from typing import Any

from torch import Tensor

from detr_diff.model.place_labels import PlaceLabels

MAX_DETECTIONS = 100  # per image, as COCO counts them
Predictions = list[dict[str, Tensor]]


def best_first(
    output: Any, processor: Any, sizes: Tensor, place_labels: PlaceLabels | None = None
) -> Predictions:
    """Prediction dicts, best first: boxes [D, 4] xyxy in pixels of the frame, scores, labels.

    Args:
        output: Of a model of transformers, for B images.
        processor: Its image processor.
        sizes: int64 [B, 2], height and width of the frames.
        place_labels: Of a model that tells places apart: it then gives places [D], too; 0 old
            (before), 1 new (after).
    """
    found = processor.post_process_object_detection(output, threshold=0.0, target_sizes=sizes)
    result = []
    for prediction in found:
        order = prediction["scores"].argsort(descending=True, stable=True)
        ranked = {
            key: value[order].detach().float() if key != "labels" else value[order]
            for key, value in prediction.items()
        }
        ranked = ranked if place_labels is None else place_labels.fold(ranked)
        result.append({key: value[:MAX_DETECTIONS] for key, value in ranked.items()})
    return result
