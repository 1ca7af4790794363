"""The frame pairs that all compared runs were evaluated on."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from detr_diff.errors import UserError
from detr_diff.evaluation.contender import Contender

SAME_PLACE = 0.5  # pixels; true boxes differ by less when they come from the same labels


def on_common_pairs(contenders: Sequence[Contender]) -> list[Contender]:
    """The same runs on the pairs that all of them have, in the same order.

    Raises:
        UserError: The class names differ, there are no common pairs, or their objects differ.
    """
    first = contenders[0]
    for other in contenders[1:]:
        if other.classes != first.classes:
            raise UserError(
                f"class names: {first.name} has {first.classes}, {other.name} has {other.classes}"
            )
    places = [{pair: index for index, pair in enumerate(one.pairs)} for one in contenders]
    names = [name for name in first.pairs if all(name in own for own in places)]
    if not names:
        counts = ", ".join(f"{one.name} has {len(one.pairs)}" for one in contenders)
        raise UserError(
            f"no pair is common to all runs: {counts}. The seed also divides the data; evaluate all of "
            "them on pairs that none has learnt"
        )
    chosen = []
    for one, own in zip(contenders, places, strict=True):
        rows = np.array([own[name] for name in names], np.int64)
        scenes, parts = ([column[row] for row in rows.tolist()] for column in (one.scenes, one.parts))
        record = one.record.of_images(rows)
        chosen.append(replace(one, record=record, pairs=names, scenes=scenes, parts=parts))
    for other in chosen[1:]:
        if differing := _other_objects(chosen[0], other):
            raise UserError(
                f"{chosen[0].name} and {other.name} have other objects in {differing} of {len(names)} common "
                "pairs: evaluate both with the same labels"
            )
    return chosen


def _other_objects(first: Contender, second: Contender) -> int:
    """In how many pairs the objects differ, in whatever order the labels name them."""
    records = first.record, second.record
    counts = [np.bincount(record.object_image, minlength=len(first.pairs)) for record in records]
    differ = counts[0] != counts[1]
    # Of the other pairs object i of one run is object i of the other, as a rule.
    rows = [np.flatnonzero(~differ[record.object_image]) for record in records]
    labels = [record.object_labels[own] for record, own in zip(records, rows, strict=True)]
    boxes = [record.object_boxes[own] for record, own in zip(records, rows, strict=True)]
    image = records[0].object_image[rows[0]]
    other = (labels[0] != labels[1]) | (np.abs(boxes[0] - boxes[1]) > SAME_PLACE).any(axis=1)
    for index in np.unique(image[other]).tolist():
        own = image == index
        mine, theirs = ((label[own], box[own]) for label, box in zip(labels, boxes, strict=True))
        same = (mine[0][:, None] == theirs[0]) & (np.abs(mine[1][:, None] - theirs[1]) <= SAME_PLACE).all(-1)
        differ[index] = (maximum_bipartite_matching(csr_array(same)) < 0).any()
    return int(differ.sum())
