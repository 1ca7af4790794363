"""Arrows from the old place of an object to the new one."""

import cv2
import numpy as np
import torch
from torch import Tensor

from detr_diff.evaluation.linking import NONE


def draw_arrows(
    picture: Tensor, boxes: Tensor, places: Tensor, links: Tensor, colour: tuple[int, int, int]
) -> Tensor:
    """Draw an arrow for each link, from the middle of the old box to that of the new one.

    Args:
        picture: uint8 [3, H, W].
        boxes: [D, 4], xyxy in pixels of the picture.
        places: [D], 0 old, 1 new.
        links: [D], row of the other place, -1 for none.
        colour: RGB.
    """
    canvas = np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
    middles = ((boxes[:, :2] + boxes[:, 2:]) / 2).round().int().tolist()
    for row, (place, partner) in enumerate(zip(places.tolist(), links.tolist(), strict=True)):
        if place == 0 and partner != NONE:
            start, end = middles[row], middles[partner]
            length = max(1.0, float(np.hypot(end[0] - start[0], end[1] - start[1])))
            tip = min(0.3, 14 / length)  # of about 14 pixels
            cv2.arrowedLine(canvas, start, end, (0, 0, 0), 5, cv2.LINE_AA, tipLength=tip)
            cv2.arrowedLine(canvas, start, end, colour, 2, cv2.LINE_AA, tipLength=tip)
    return torch.from_numpy(canvas).permute(2, 0, 1)
