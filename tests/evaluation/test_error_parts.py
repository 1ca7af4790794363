import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detr_diff.evaluation.detection_record import DetectionRecord
from detr_diff.evaluation.error_parts import KINDS, RIGHT, ap_costs, find_errors
from detr_diff.evaluation.pair_errors import COLUMNS, pair_errors, write_pair_errors
from detr_diff.evaluation.record import Record
from tests.evaluation.scenes import CLASSES, record, scene

TEN_PAIRS = json.loads(Path(__file__).with_name("ten_pairs.json").read_text())

# Counted by eye on pictures of ten test pairs of a demo run, drawn eight times as large:
# objects, found, and then class, location, both, duplicate, background, missed.
COUNTED = {
    "scene_0059/001359": (6, 5, 1, 0, 0, 4, 0, 1),
    "scene_0010/001210": (4, 4, 0, 1, 0, 1, 0, 0),
    "scene_0011/001811": (6, 5, 0, 1, 1, 3, 0, 1),
    "scene_0039/000639": (6, 4, 0, 0, 2, 1, 0, 2),
    "scene_0062/000562": (4, 4, 0, 1, 0, 0, 0, 0),
    "scene_0062/000262": (6, 5, 0, 2, 0, 2, 0, 1),
    "scene_0010/002110": (2, 2, 0, 0, 1, 2, 1, 0),
    "scene_0039/001439": (4, 4, 0, 0, 0, 0, 0, 0),
    "scene_0062/000962": (6, 5, 0, 0, 0, 0, 0, 1),
    "scene_0010/000610": (0, 0, 0, 0, 0, 0, 0, 0),
}


def of(image: dict) -> Record:
    metric = DetectionRecord()
    columns = {key: torch.tensor(value) for key, value in image.items() if key not in ("pair", "threshold")}
    prediction = {key: columns[key] for key in ("boxes", "scores", "labels")}
    metric.update([prediction], [{key: columns[f"object_{key}"] for key in ("boxes", "labels")}], [0])
    return metric.compute()


@pytest.mark.parametrize("pair", TEN_PAIRS, ids=lambda pair: pair["pair"])
def test_the_errors_are_those_counted_by_hand(pair: dict) -> None:
    assert tuple(pair_errors(of(pair), pair["threshold"])[0]) == COUNTED[pair["pair"]]


def boxes(*left: float) -> torch.Tensor:
    """Boxes of 10 by 10 pixels."""
    return torch.tensor([[x, 0, x + 10, 10] for x in left])


def test_one_error_of_each_kind() -> None:
    """Objects of class 0 at 0, 100, 200 and 300."""
    truth = {"boxes": boxes(0, 100, 200, 300), "labels": torch.zeros(4)}
    prediction = {
        # Right, a duplicate, near an object that nothing found, another class on one, another near
        # one, nothing there, and a worse prediction near the object of the third.
        "boxes": boxes(0, 1, 105, 200, 206, 500, 106),
        "scores": torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]),
        "labels": torch.tensor([0, 0, 0, 1, 1, 0, 0]),
    }
    own = record([prediction], [truth])
    errors = find_errors(own)
    kinds = [KINDS[kind] if kind != RIGHT else "right" for kind in errors.kind]
    assert kinds == ["right", "duplicate", "location", "class", "both", "background", "location"]
    assert errors.object.tolist() == [0, 0, 1, 2, -1, -1, 1]
    assert errors.mended.tolist() == [False, False, True, True, False, False, False]
    assert errors.missed.tolist() == [False, False, False, True]
    costs = ap_costs(own, errors, 2)
    # AP 26 / 101; one object of four more is found at precision 2 / 3 instead.
    now = 26 / 101
    assert costs["location"] == pytest.approx(now + 25 / 101 * 2 / 3 - now)
    assert costs["missed"] == pytest.approx(34 / 101 - now)
    assert costs["duplicate"] == costs["both"] == costs["background"] == 0
    assert costs["false_negatives"] == pytest.approx(1 - now)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([0.0, 0.3, 0.7]))
def test_every_prediction_and_every_object_is_told(seed: int, whole: bool, threshold: float) -> None:
    own = record(*scene(seed, whole=whole)).above(threshold)
    errors = find_errors(own)
    counts = errors.counts()
    wrong = sum(counts.values()) - counts["missed"]
    assert wrong + (errors.kind == RIGHT).sum() == len(own.labels)
    assert (errors.kind == RIGHT).sum() == errors.found.sum()
    assert errors.mended.sum() + counts["missed"] + errors.found.sum() == len(own.object_labels)
    costs = ap_costs(own, errors, CLASSES)
    assert all(0 <= cost <= 1 for cost in costs.values())
    assert (pair_errors(own, threshold).sum(0)[2:] == [counts[kind] for kind in KINDS]).all()


def test_a_class_of_which_all_is_missed_is_perfect_without() -> None:
    truth = {"boxes": boxes(0, 100), "labels": torch.tensor([0, 1])}
    prediction = {"boxes": boxes(0), "scores": torch.tensor([0.9]), "labels": torch.tensor([0])}
    own = record([prediction], [truth])
    assert ap_costs(own, find_errors(own), CLASSES)["missed"] == pytest.approx(0.5)


def test_pairs_are_written_the_worst_first(tmp_path: Path) -> None:
    own = record(*scene(7))
    table = pair_errors(own, 0.2)
    names, scenes = [f"pair{index}" for index in range(6)], ["x", None, "y", "y", "x", None]
    parts = ["train", "val", "test", "none", None, "train"]
    write_pair_errors(tmp_path / "pairs.csv", table, names, scenes, parts)
    with (tmp_path / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    errors = [sum(int(row[kind]) for kind in KINDS) for row in rows]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > errors[-1]
    for row in rows:
        index = names.index(row["pair"])
        assert (row["scene"], row["part"]) == (scenes[index] or "", parts[index] or "")
        assert int(row["objects"]) == np.sum(own.object_image == index)
