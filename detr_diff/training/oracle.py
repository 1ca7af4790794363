"""The ceiling of the labels: every changed place, without knowing before from after.

|after - before| is the same when the frames are swapped. A detector that sees nothing else cannot do
better than to return every place that lights up; where only one place of a moved object is labelled,
half of them are wrong. The oracle is that detector, with perfect boxes.
"""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_convert

from detr_diff.data.image import read_image
from detr_diff.data.inspection import inspect
from detr_diff.data.label_places import without_box
from detr_diff.data.labelled_pairs import LabelledPair
from detr_diff.data.sampler import seed_for
from detr_diff.errors import SettingError

log = logging.getLogger(__name__)

THRESHOLD = 0.5  # all scores are above: the oracle is sure of every place


class Oracle:
    """Returns given places, in random order of scores.

    Args:
        places: Boxes [N, 4] xyxy in pixels and labels [N] of each position in the data set.
        seed: The scores are a function of (seed, position): equal scores would let the order in
            which places are listed tell the labelled ones.
    """

    def __init__(self, places: Sequence[tuple[Tensor, Tensor]], seed: int) -> None:
        self.places = places
        self.seed = seed

    def __call__(self, image: Tensor, target: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The prediction dict of a pair; the image is not looked at."""
        position = int(target["index"])
        boxes, labels = self.places[position]
        generator = torch.Generator().manual_seed(seed_for(self.seed, position))
        scores = THRESHOLD + (1 - THRESHOLD) * torch.rand(len(labels), generator=generator)
        return {"boxes": boxes, "scores": scores, "labels": labels}


def labelled_places(
    pairs: Sequence[LabelledPair], others: Sequence[LabelledPair], folder: str
) -> list[tuple[Tensor, Tensor]]:
    """The places that another label folder names.

    Args:
        pairs: The pairs to be evaluated.
        others: The same pairs with the labels of the other folder, and perhaps more of them.
        folder: Its name, for messages.

    Raises:
        SettingError: A pair has no labels there.
    """
    rows = {others[index].pair.name: index for index in range(len(others))}
    places = []
    for pair in pairs:
        if pair.pair.name not in rows:
            raise SettingError(f"model.places={folder}: no labels of pair {pair.pair.name}")
        places.append(_boxes(others[rows[pair.pair.name]]))
    return places


def changed_places(pairs: Sequence[LabelledPair]) -> list[tuple[Tensor, Tensor]]:
    """The labelled boxes, and the changed regions that have none though they are as large.

    Regions that are weaker, or that touch a labelled box, are not seen: the ceiling is estimated from
    above. Such a region has the class of the labelled box of the pair that is most like it in area, and the
    commonest class where the pair has no box: its own is not known.

    Raises:
        SettingError: A pair is a ready diff image, or there is no object at all.
    """
    inspected = {}
    for pair in pairs:
        if pair.pair.before is None:
            raise SettingError(
                f"model=oracle: {pair.pair.name} is a ready diff image; give model.places, a label folder "
                "that names every changed place"
            )
        frames = read_image(pair.pair.before), read_image(pair.pair.after)
        inspected[pair.pair.name] = inspect(*frames, pair.labels)
    own = [_boxes(pair) for pair in pairs]
    every = torch.cat([labels for _, labels in own])
    if not len(every):
        raise SettingError(f"model=oracle: no object in {len(own)} pairs")
    commonest = int(every.bincount().argmax())
    blobs = without_box(inspected)
    found = sum(len(regions) for regions in blobs.values())
    log.info(
        "oracle: %d changed regions have no box, beside %d that have one; weak ones and those that touch a "
        "box are not seen, so the ceiling may be lower; model.places names them all",
        found,
        len(every),
    )
    places = []
    for pair, (boxes, labels) in zip(pairs, own, strict=True):
        more = torch.from_numpy(blobs[pair.pair.name][:, :4]).float()
        alike = _like(more, boxes, labels) if len(labels) else torch.full((len(more),), commonest)
        places.append((torch.cat([boxes, more]), torch.cat([labels, alike])))
    return places


def _like(blobs: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
    """The label of the box with the most similar area, of each blob."""
    own, others = ((part[:, 2:] - part[:, :2]).prod(dim=1).clamp(min=1e-6).log() for part in (blobs, boxes))
    return labels[(own[:, None] - others).abs().argmin(dim=1)]


def _boxes(pair: LabelledPair) -> tuple[Tensor, Tensor]:
    scale = torch.from_numpy(np.array([pair.width, pair.height] * 2, np.float32))
    boxes = box_convert(torch.from_numpy(pair.labels.boxes), "cxcywh", "xyxy") * scale
    return boxes, torch.from_numpy(pair.labels.class_labels)
