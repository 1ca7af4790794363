"""What is wrong in which pair, as a table."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detr_diff.evaluation.error_parts import KINDS, RIGHT, find_errors
from detr_diff.evaluation.record import MOST, Ints, Record

# `part` is what the pair was in the training of the model: train, val, test or none; empty where that is not
# known. `image` is its row in record.npz, so that its predictions can be found again.
COLUMNS = ("pair", "scene", "part", "objects", "found", *(str(kind) for kind in KINDS), "image")


def pair_errors(record: Record, threshold: float) -> Ints:
    """Objects, objects found, and errors of each kind, of each image: [N, 2 + kinds].

    Args:
        record: Predictions and objects.
        threshold: Predictions count from that score on.
    """
    shown = record.best(MOST).above(threshold)
    errors, number = find_errors(shown), len(record.images)
    columns = [np.bincount(shown.object_image, minlength=number)]
    for kind in (RIGHT, *range(len(KINDS))):
        columns.append(np.bincount(shown.image[errors.kind == kind], minlength=number))
    table = np.stack(columns, axis=1)
    table[:, -1] = np.bincount(shown.object_image[errors.missed], minlength=number)
    return table


def write_pair_errors(
    path: Path,
    table: Ints,
    names: Sequence[str],
    scenes: Sequence[str | None],
    parts: Sequence[str | None],
) -> None:
    """Write the table with a row for each pair, the one with most errors first."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for index in np.argsort(-table[:, 2:].sum(axis=1), kind="stable").tolist():
            named = (names[index], scenes[index] or "", parts[index] or "")
            rows.writerow([*named, *table[index].tolist(), index])
