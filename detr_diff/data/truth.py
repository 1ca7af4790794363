"""The true boxes of samples, as metrics and pictures take them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchvision.ops import box_convert


def truths_in_pixels(targets: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
    """Target dicts as boxes [N, 4] xyxy in pixels of the frame, labels, places and objects [N].

    Of all at once: on a GPU each small step of each image would have to be launched.

    Args:
        targets: With the same keys; none: of no image.
    """
    if not targets:
        return []
    counts = [len(target["boxes"]) for target in targets]
    own = torch.cat([target["boxes"] for target in targets])
    sizes = torch.stack([target["size"] for target in targets]).to(own.dtype)
    scales = sizes.flip(1).repeat(1, 2)
    # Told how many that are, nobody waits for the sum.
    rows = torch.tensor(counts, device=sizes.device)
    scales = scales.repeat_interleave(rows, dim=0, output_size=len(own))
    boxes = box_convert(own, "cxcywh", "xyxy") * scales.to(own.device, non_blocking=True)
    return [
        {"boxes": corners, "labels": target["class_labels"]}
        | {key: target[key] for key in ("places", "objects") if key in target}
        for corners, target in zip(boxes.split(counts), targets, strict=True)
    ]
