"""The matcher against one image and one layer at a time, with costs written out."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torchvision.ops import box_convert, box_iou, generalized_box_iou

from detr_diff.model.families import FAMILIES
from detr_diff.training.box_overlap import overlap
from detr_diff.training.class_loss import RECIPES
from detr_diff.training.criterion import layer_sums
from detr_diff.training.decoder_layers import Layers
from detr_diff.training.matcher import Costs, Match, Objects, cost_of, denoising_match, match

CLASSES = 3


def material(
    counts: list[int], queries: int, layers: int, seed: int
) -> tuple[Layers, list[dict[str, Tensor]]]:
    generator = torch.Generator().manual_seed(seed)
    shape = layers, len(counts), queries
    logits = 3 * torch.randn(*shape, CLASSES, generator=generator)
    boxes = torch.rand(*shape, 4, generator=generator).clamp(min=0.01)
    labels = [
        {
            "boxes": torch.rand(count, 4, generator=generator).clamp(min=0.01),
            "class_labels": torch.randint(CLASSES, (count,), generator=generator),
        }
        for count in counts
    ]
    return Layers(logits, boxes), labels


def naive_cost(logits: Tensor, boxes: Tensor, label: dict[str, Tensor], costs: Costs) -> np.ndarray:
    """[Q, N] of one image in one layer."""
    classes = label["class_labels"]
    if costs.focal is None:
        paid = -logits.softmax(-1)[:, classes]
    else:
        alpha, gamma = costs.focal
        scores = logits.sigmoid()
        positive = alpha * (1 - scores) ** gamma * -(scores + 1e-8).log()
        paid = (positive - (1 - alpha) * scores**gamma * -(1 - scores + 1e-8).log())[:, classes]
    distance = torch.cdist(boxes, label["boxes"], p=1)
    corners = (box_convert(each, "cxcywh", "xyxy") for each in (boxes, label["boxes"]))
    far = -generalized_box_iou(*corners)
    return (costs.classes * paid + costs.boxes * distance + costs.overlap * far).numpy()


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(0, 7), min_size=1, max_size=4),
    queries=st.integers(1, 9),
    layers=st.integers(1, 3),
    focal=st.sampled_from([None, (0.25, 2.0), (0.5, 1.0)]),
    seed=st.integers(0, 2**31),
)
def test_the_matching_is_that_of_scipy_on_naive_costs(
    counts: list[int], queries: int, layers: int, focal: Any, seed: int
) -> None:
    predicted, labels = material(counts, queries, layers, seed)
    costs = Costs(2.0, 5.0, 2.0, focal)
    objects = Objects.of(labels)
    found = match(predicted, objects, costs)
    assert found.finite
    pairs = set(zip(found.queries.tolist(), found.objects.tolist(), strict=True))
    expected = set()
    for layer in range(layers):
        first = 0
        for image, label in enumerate(labels):
            cost = naive_cost(predicted.logits[layer, image], predicted.boxes[layer, image], label, costs)
            row = (layer * len(counts) + image) * queries
            expected |= {(row + q, first + n) for q, n in zip(*linear_sum_assignment(cost), strict=True)}
            first += counts[image]
    assert pairs == expected
    assert len(found.queries) == layers * sum(min(count, queries) for count in counts)


def test_overlap_is_that_of_torchvision() -> None:
    boxes, others = torch.rand(2, 50, 4).clamp(min=0.01)
    corners = [box_convert(each, "cxcywh", "xyxy") for each in (boxes, others)]
    expected = box_iou(*corners).diagonal(), generalized_box_iou(*corners).diagonal()
    torch.testing.assert_close(overlap(boxes.T, others.T), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_cost_that_is_no_number_is_said_and_does_not_hang(bad: float) -> None:
    predicted, labels = material([2, 3], 5, 2, 0)
    predicted.logits[1, 0, 3] = bad
    predicted.boxes[0, 1] = bad
    found = match(predicted, Objects.of(labels), Costs(1.0, 5.0, 2.0, None))
    assert not found.finite
    assert len(set(found.queries.tolist())) == 2 * 5


@pytest.mark.parametrize("name", ["detr", "conditional_detr", "rt_detr"])
def test_only_the_match_waits_for_the_device(name: str) -> None:
    """A tensor without values cannot be looked at: whoever does it fails here."""
    config = FAMILIES[name].config_class()
    recipe = RECIPES[FAMILIES[name].class_loss]
    with FakeTensorMode(allow_non_fake_inputs=True):
        predicted, labels = material([2, 0, 3], 8, 2, 0)
        objects = Objects.of(labels)
        assert cost_of(predicted, objects, recipe.costs(config)).shape == (5, 2, 8)
        indices = torch.zeros(10, dtype=torch.int64)
        meta = {"dn_num_group": 1, "dn_positive_idx": [torch.arange(2), torch.arange(0), torch.arange(3)]}
        for found in (Match(indices, indices), denoising_match(predicted, objects, meta)):
            sums = layer_sums(recipe, predicted, objects, found, config)
            assert all(values.shape == (2,) for values in sums.values())
        with pytest.raises(DataDependentOutputException):
            bool(predicted.logits.isfinite().all())
