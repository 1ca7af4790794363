"""One of the runs that are compared, as its files show it."""

import csv
import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from detr_diff.errors import UserError
from detr_diff.evaluation.record import Record

RECORD = "record.npz"
PAIR_ERRORS = "pair_errors.csv"
FIGURES = ("evaluation.json", "metrics.json")  # of evaluate, of train

Curve = tuple[list[float], list[float]]  # optimizer steps, values


@dataclass(frozen=True)
class Contender:
    """Predictions and objects of one evaluation, and what is known of the run that it is of.

    Attributes:
        name: In tables.
        folder: The run folder, or the folder of an evaluation.
        classes: Class names.
        threshold: Score from which a prediction counts, chosen on the run's validation pairs.
        record: Predictions and objects.
        pairs: Name of each image of the record.
        scenes: Of each image.
        parts: What each image was in the run's training: train, val, test or none; None: not known.
        facts: All of metrics.json or evaluation.json.
        settings: By dotted name.
        curves: Learning curves by name, as val/map_50.
    """

    name: str
    folder: Path
    classes: list[str]
    threshold: float
    record: Record
    pairs: list[str]
    scenes: list[str | None]
    parts: list[str | None]
    facts: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)


def read_contender(folder: Path, name: str) -> Contender:
    """Read a folder of `train` or `evaluate`.

    Raises:
        UserError: A file is missing or is not what was written there.
    """
    path = next((folder / file for file in FIGURES if (folder / file).is_file()), None)
    if path is None:
        raise UserError(f"{folder}: neither {' nor '.join(FIGURES)}")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        prefix = "test/" if "test/map" in facts else "val/"
        threshold = float(facts[f"{prefix}score_threshold"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not readable ({type(error).__name__}: {error})") from error
    start = f"{prefix}map/"
    classes = [key.removeprefix(start) for key in facts if key.startswith(start)]
    try:
        record = Record.load(folder / RECORD)
    except FileNotFoundError as error:
        raise UserError(f"{folder / RECORD}: no such file") from error
    except (OSError, EOFError, ValueError, KeyError, NotImplementedError, BadZipFile, zlib.error) as error:
        raise UserError(f"{folder / RECORD}: not readable ({type(error).__name__})") from error
    pairs, scenes, parts = _pairs(folder / PAIR_ERRORS, len(record.images))
    if path.name == FIGURES[1]:  # of train, whose older versions did not write it for each pair
        parts = [prefix.strip("/")] * len(pairs)
    return Contender(name, folder, classes, threshold, record, pairs, scenes, parts, facts)


def _pairs(path: Path, number: int) -> tuple[list[str], list[str | None], list[str | None]]:
    """Names, scenes and parts of the images of the record."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = {int(row["image"]): row for row in csv.DictReader(file)}
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except KeyError as error:
        raise UserError(f"{path}: no column image; evaluate again, an older version wrote it") from error
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: not readable ({error})") from error
    if sorted(rows) != list(range(number)):
        raise UserError(f"{path}: {len(rows)} pairs, but {number} in {path.with_name(RECORD)}")
    ordered = [rows[index] for index in range(number)]
    scenes, parts = ([row.get(key) or None for row in ordered] for key in ("scene", "part"))
    return [row["pair"] for row in ordered], scenes, parts
