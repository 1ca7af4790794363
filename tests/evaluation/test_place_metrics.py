"""The figures of places and links, against loops in plain Python."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_iou

from detr_diff.evaluation.place_metrics import PlaceMetrics
from tests.evaluation.scenes import Boxes, scene

Judged = tuple[Boxes, Boxes, torch.Tensor]


def pairs(seed: int, count: int) -> list[Judged]:
    """Random predictions and truths with places, objects and links; some of them unknown."""
    rng = np.random.default_rng(seed)
    result = []
    for prediction, truth in zip(*scene(seed, count), strict=True):
        # Objects come twice at most, once at each place.
        order = rng.permutation(2 * len(truth["labels"]))[: len(truth["labels"])]
        truth["objects"], truth["places"] = (torch.from_numpy(part) for part in (order // 2, order % 2))
        for key in ("objects", "places"):
            truth[key][torch.from_numpy(rng.random(len(order)) < 0.15)] = -1
        number = len(prediction["labels"])
        prediction["places"] = torch.from_numpy(rng.integers(0, 2, number))
        partners = torch.full((number,), -1)
        old, new = (rng.permutation(np.flatnonzero(prediction["places"] == place)) for place in (0, 1))
        for one, other in zip(old.tolist(), new.tolist(), strict=False):
            if rng.random() < 0.8:
                partners[one], partners[other] = other, one
        result.append((prediction, truth, partners))
    return result


def naive(judged: Sequence[Judged]) -> dict[str, float]:
    placed, links, made, right_places, right_links = 0, 0, 0, 0, 0
    for prediction, truth, partners in judged:
        found: dict[int, int] = {}  # object to prediction
        for row in sorted(range(len(prediction["labels"])), key=lambda r: -float(prediction["scores"][r])):
            best, chosen = (False, 0.5), None
            for column in range(len(truth["labels"])):
                if column in found or truth["labels"][column] != prediction["labels"][row]:
                    continue
                sides = prediction["boxes"][row].double()[None], truth["boxes"][column].double()[None]
                overlap = float(box_iou(*sides))
                here = bool(truth["places"][column] == prediction["places"][row])
                if overlap >= 0.5 and (here, overlap) >= best:
                    best, chosen = (here, overlap), column
            if chosen is not None:
                found[chosen] = row
        of = {row: column for column, row in found.items()}
        for column, row in found.items():
            if truth["places"][column] >= 0:
                placed += 1
                right_places += int(truth["places"][column] == prediction["places"][row])
        said = list(zip(truth["objects"].tolist(), truth["places"].tolist(), strict=True))
        true = [
            (old, new)
            for old, (thing, place) in enumerate(said)
            for new, (other, where) in enumerate(said)
            if thing == other >= 0 and (place, where) == (0, 1)
        ]
        links += len(true)
        for row, partner in enumerate(partners.tolist()):
            if partner < 0 or prediction["places"][row] != 0:
                continue
            ends = [of.get(row), of.get(partner)]
            if any(end is not None and truth["objects"][end] < 0 for end in ends):
                continue
            made += 1
            right_links += tuple(ends) in true
    return {
        "place_accuracy": right_places / placed if placed else math.nan,
        "link_accuracy": right_links / links if links else math.nan,
        "link_precision": right_links / made if made else math.nan,
    }


@given(st.integers(0, 10_000), st.integers(0, 6))
def test_the_figures_are_those_of_plain_loops(seed: int, count: int) -> None:
    judged = pairs(seed, count)
    metrics = PlaceMetrics()
    for one in judged:
        metrics.update(*one)
    found, expected = metrics.compute(), naive(judged)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert math.isclose(found[key], value) or (math.isnan(value) and math.isnan(found[key])), key


@given(st.integers(0, 10_000), st.integers(0, 6))
def test_counts_of_several_processes_add_up(seed: int, cut: int) -> None:
    """What torchmetrics does with states that are summed over processes."""
    judged = pairs(seed, 6)
    parts = [PlaceMetrics(), PlaceMetrics()]
    for rank, part in enumerate((judged[:cut], judged[cut:])):
        for one in part:
            parts[rank].update(*one)
    parts[0].merge_state(parts[1])
    expected = naive(judged)
    for key, value in parts[0].compute().items():
        assert math.isclose(value, expected[key]) or (math.isnan(value) and math.isnan(expected[key]))


def test_a_perfect_prediction_is_perfect() -> None:
    """Object 0 moved, 1 appeared; both are found and said to be where they are."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])
    truth = {
        "boxes": boxes,
        "labels": torch.tensor([1, 1, 0]),
        "places": torch.tensor([0, 1, 1]),
        "objects": torch.tensor([0, 0, 1]),
    }
    prediction = {**truth, "scores": torch.tensor([0.5, 0.9, 0.7])}
    metrics = PlaceMetrics()
    metrics.update(prediction, truth, torch.tensor([1, 0, -1]))
    assert set(metrics.compute().values()) == {1.0}
    metrics.update(prediction, truth, torch.tensor([-1, 2, 1]))
    assert metrics.compute()["link_accuracy"] == 0.5


def test_objects_that_change_places_are_told_apart() -> None:
    """An object may stand where another of its class stood: IoU alone is a tie then."""
    here, there = [10.0, 10, 30, 30], [50.0, 10, 70, 30]
    boxes = torch.tensor([here, there, there, here])
    truth = {
        "boxes": boxes,
        "labels": torch.zeros(4, dtype=torch.int64),
        "places": torch.tensor([0, 1, 0, 1]),
        "objects": torch.tensor([0, 0, 1, 1]),
    }
    metrics = PlaceMetrics()
    prediction = {**truth, "scores": torch.tensor([0.9, 0.8, 0.7, 0.6])}
    metrics.update(prediction, truth, torch.tensor([1, 0, 3, 2]))
    assert metrics.compute() == {"place_accuracy": 1.0, "link_accuracy": 1.0, "link_precision": 1.0}
