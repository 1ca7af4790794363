"""The box head of query selection sees the queries alone, and nothing comes out otherwise."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detr_diff.errors import SettingError
from detr_diff.model.query_selection import box_queries_alone
from tests.model.tiny_models import build, first_of

LABELS = [
    {"class_labels": torch.tensor(classes), "boxes": torch.tensor(boxes)}
    for classes, boxes in (
        ([0, 1], [[0.3, 0.4, 0.2, 0.3], [0.7, 0.6, 0.3, 0.2]]),
        ([1], [[0.5, 0.5, 0.4, 0.4]]),
    )
]


def learnt(model: Any) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor], int]:
    """Logits, boxes, loss, gradients, and how many places the box head of query selection saw."""
    places = []
    head = model.model.enc_bbox_head.layers[0]
    hook = head.register_forward_pre_hook(lambda module, given: places.append(given[0].shape[1]))
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, 64, 96, generator=generator)
    torch.manual_seed(0)  # of the denoising queries
    output = model(pixel_values=images, labels=LABELS)
    hook.remove()
    model.zero_grad()
    output.loss.backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return output.logits, output.pred_boxes, output.loss, gradients, places[0]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", first_of(["rt_detr", "rt_detr_v2", "d_fine"]))
def test_all_is_as_in_transformers(name: str, training: bool) -> None:
    model, _ = build(name)
    for parameter in model.model.enc_bbox_head.parameters():  # its last layer is zero at first
        nn.init.normal_(parameter, std=0.3)
    own = copy.deepcopy(model)
    box_queries_alone(own)
    assert list(own.state_dict()) == list(model.state_dict())
    *expected, everywhere = learnt(model.train(training))
    for one in (own, copy.deepcopy(own)):
        *found, asked = learnt(one.train(training))
        assert (asked, everywhere) == (model.config.num_queries, 8 * 12 + 4 * 6 + 2 * 3)
        torch.testing.assert_close(found, expected)


def test_a_copy_goes_by_its_own_scores() -> None:
    model, _ = build("rt_detr")
    box_queries_alone(model)
    average = copy.deepcopy(model)
    assert average.model.enc_bbox_head.selection[0] is average.model


def test_other_families_stay_as_they_are() -> None:
    model, _ = build("deformable_detr")
    kinds = [type(module) for module in model.modules()]
    box_queries_alone(model)
    assert [type(module) for module in model.modules()] == kinds


def test_more_queries_than_places_are_told() -> None:
    model, _ = build("rt_detr", num_queries=30)
    box_queries_alone(model)
    with pytest.raises(SettingError, match=r"30 queries are places .* have 21: larger .*queries=21"):
        model.eval()(pixel_values=torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("name", first_of(["rt_detr", "rt_detr_v2", "d_fine"]))
def test_anchors_are_exact_where_features_are_in_bf16(name: str) -> None:
    """transformers makes them in the type of the features."""
    model, _ = build(name)
    box_queries_alone(model)
    found = []

    def note(module: nn.Module, given: Any, output: Any) -> None:
        offsets = output.enc_outputs_coord_logits
        found.append(offsets.flatten().unique())

    model.model.register_forward_hook(note)
    nn.init.zeros_(model.model.enc_bbox_head.layers[-1].weight)
    nn.init.zeros_(model.model.enc_bbox_head.layers[-1].bias)
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        model.eval()(pixel_values=images)
        with torch.autocast("cpu", torch.bfloat16):
            model(pixel_values=images)
        (anchors, _) = model.model.generate_anchors(((8, 12), (4, 6), (2, 3)), dtype=torch.bfloat16)
    assert anchors.dtype == torch.float32
    assert torch.equal(*found)
