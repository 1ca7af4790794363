"""Which old and which new place are of the same object."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import batched_nms

from detr_diff.evaluation.appearance import appearance
from detr_diff.evaluation.record import Floats, Ints

LIMIT = 0.4  # from this cost on two places are of two objects
SIZE = 0.05  # cost of a height e times as large: perspective
SHAPE = 0.2  # cost of a ratio of the sides e times as large
DUPLICATE = 0.5  # overlap (IoU) from which on the weaker of two like boxes shows the same object again
NONE = -1  # no partner


def link(found: Mapping[str, Tensor], before: Tensor, after: Tensor) -> Tensor:
    """Link the old and new places of one pair by class, size, shape and looks.

    A DETR may find one place twice. The weaker box is linked to nothing, or it would take the partner
    of the stronger one.

    Args:
        found: boxes [D, 4] xyxy in pixels, labels [D], places [D]: 0 old, 1 new, and scores [D]; places
            without scores are true ones, each of which is there once.
        before: The earlier frame, aligned with the later one, uint8 [3, H, W].
        after: The later frame, uint8 [3, H, W].

    Returns:
        int64 [D], row of the other place of the same object, -1 where there is none.
    """
    boxes, labels, places = (
        np.asarray(found[key].detach().cpu().double().numpy()) for key in ("boxes", "labels", "places")
    )
    frames = [np.ascontiguousarray(frame.permute(1, 2, 0).cpu().numpy()) for frame in (before, after)]
    single = _without_duplicates(found)
    old, new = (np.flatnonzero((places == place) & single) for place in (0, 1))
    looks = appearance(frames[0], frames[1], boxes[old]), appearance(frames[1], frames[0], boxes[new])
    cost = costs(boxes[old], boxes[new], *looks)
    cost[labels[old][:, None] != labels[new][None]] = np.inf
    partners = np.full(len(boxes), NONE)
    rows, columns = assign(cost, LIMIT)
    partners[old[rows]], partners[new[columns]] = new[columns], old[rows]
    return torch.from_numpy(partners)


def _without_duplicates(found: Mapping[str, Tensor]) -> npt.NDArray[np.bool_]:
    """Which boxes overlap no stronger one of the same class and place, [D]."""
    if "scores" not in found:
        return np.ones(len(found["boxes"]), bool)
    kinds = 2 * found["labels"] + found["places"]
    kept = batched_nms(found["boxes"].float(), found["scores"].float(), kinds, DUPLICATE)
    single = np.zeros(len(found["boxes"]), bool)
    single[kept.cpu().numpy()] = True
    return single


def costs(old: Floats, new: Floats, old_looks: Floats, new_looks: Floats) -> Floats:
    """What speaks against each old and new place being of the same object.

    Args:
        old: [O, 4], xyxy.
        new: [N, 4], xyxy.
        old_looks: [O, D], see `appearance`.
        new_looks: [N, D].

    Returns:
        [O, N]: distance of looks in [0, 1], and a part for other size and shape.
    """

    def sides(boxes: Floats) -> tuple[Floats, Floats]:
        width, height = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6).T
        return np.log(height), np.log(width / height)

    size, shape = (
        np.abs(own[:, None] - other[None]) for own, other in zip(sides(old), sides(new), strict=True)
    )
    return 1 - old_looks @ new_looks.T + SIZE * size + SHAPE * shape


def assign(cost: Floats, limit: float) -> tuple[Ints, Ints]:
    """The links that together save most against leaving places alone, each at most once.

    A link saves what its cost is below the limit (Kuhn 1955, the Hungarian method).

    Args:
        cost: [O, N]; infinite where a link is impossible.
        limit: Links that cost as much or more are not made.

    Returns:
        Rows and columns of the links.
    """
    rows, columns = linear_sum_assignment(np.minimum(cost, limit))
    made = cost[rows, columns] < limit
    return rows[made], columns[made]
