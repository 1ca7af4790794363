"""The true boxes of a sample, as metrics and pictures take them."""

from collections.abc import Mapping

from torch import Tensor
from torchvision.ops import box_convert


def truth_in_pixels(target: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A target dict as boxes [N, 4] xyxy in pixels of the frame, labels, places and objects [N]."""
    height, width = target["size"].tolist()
    scale = target["boxes"].new_tensor([width, height, width, height])
    boxes = box_convert(target["boxes"], "cxcywh", "xyxy") * scale
    said = {key: target[key] for key in ("places", "objects") if key in target}
    return {"boxes": boxes, "labels": target["class_labels"], **said}
