"""The true boxes of a sample, as metrics and pictures take them."""

from collections.abc import Mapping

from torch import Tensor
from torchvision.ops import box_convert


def truth_in_pixels(target: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A target dict as boxes [N, 4] xyxy in pixels of the frame, labels, places and objects [N]."""
    own = target["boxes"]
    scale = target["size"].flip(0).repeat(2).to(own.dtype).to(own.device, non_blocking=True)
    boxes = box_convert(own, "cxcywh", "xyxy") * scale
    said = {key: target[key] for key in ("places", "objects") if key in target}
    return {"boxes": boxes, "labels": target["class_labels"], **said}
