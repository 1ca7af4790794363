"""PlaceMetrics: are places told apart, and are the two places of an object linked?"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from detr_diff.evaluation.matching import match
from detr_diff.evaluation.overlap import overlaps
from detr_diff.evaluation.record import Ints, Record

IOU = 0.5
COUNTS = ("placed", "placed_right", "links", "linked", "linked_right")


class PlaceMetrics(Metric):
    """Counts over pairs; those of several processes add up.

    A prediction finds an object as in the other figures: greedily, by class, at IoU 0.5. Where it
    could find several, it finds one at the place that it names, if there is one: an object may stand
    where another of its class stood.
    """

    full_state_update = False
    placed: Tensor
    placed_right: Tensor
    links: Tensor
    linked: Tensor
    linked_right: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in COUNTS:
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, prediction: Mapping[str, Tensor], truth: Mapping[str, Tensor], partners: Tensor) -> None:
        """Add a pair.

        Args:
            prediction: boxes [D, 4] xyxy in pixels, scores [D], labels [D], places [D]: what is shown.
            truth: boxes [G, 4] xyxy in pixels, labels [G], places [G] and objects [G], -1 unknown.
            partners: int64 [D], the other place of the same object, -1 for none; see `link`.
        """
        found = find(prediction, truth)
        places, said, objects = (
            np.asarray(values.detach().cpu().numpy())
            for values in (prediction["places"], truth["places"], truth["objects"])
        )
        partner = np.asarray(partners.cpu().numpy())
        judged = (found >= 0) & (said >= 0)
        self.placed += int(judged.sum())
        self.placed_right += int((places[found[judged]] == said[judged]).sum())
        for number in np.unique(objects[objects >= 0]):
            own = [np.flatnonzero((objects == number) & (said == place)) for place in (0, 1)]
            if not (len(own[0]) and len(own[1])):
                continue  # it appeared or left
            self.links += 1
            old, new = (int(found[rows[0]]) for rows in own)
            if old >= 0 and new >= 0 and partner[old] == new and places[old] == 0:
                self.linked_right += 1
        # A link to an object without a number may be right, nobody knows.
        nameless = found[(found >= 0) & (objects < 0)]
        starts = np.flatnonzero((places == 0) & (partner >= 0))
        self.linked += int((~np.isin(starts, nameless) & ~np.isin(partner[starts], nameless)).sum())

    def compute(self) -> dict[str, float]:
        """place_accuracy, link_accuracy and link_precision; nan where there is nothing to judge."""
        return {
            "place_accuracy": _share(self.placed_right, self.placed),
            "link_accuracy": _share(self.linked_right, self.links),
            "link_precision": _share(self.linked_right, self.linked),
        }


def find(prediction: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> Ints:
    """Row of the prediction that found each object, [G], -1 for none."""
    order = np.argsort(-prediction["scores"].detach().cpu().double().numpy(), kind="stable")
    record = Record.of_image(prediction, truth)
    places, said = (np.asarray(values["places"].detach().cpu().numpy()) for values in (prediction, truth))
    pairs = overlaps(record, IOU)
    same_place = places[order][pairs.prediction] == said[pairs.object]
    matches = match(record, pairs._replace(iou=pairs.iou + same_place), (IOU,))
    found = np.full(len(record.object_labels), -1)
    taken = matches.taken[0]
    found[taken[taken >= 0]] = order[matches.candidates[taken >= 0]]
    return found


def _share(part: Tensor, whole: Tensor) -> float:
    return float(part) / float(whole) if whole else float("nan")
