"""Under autocast backbone and encoder compute in bf16, all else in float32."""

import copy
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detr_diff.model.autocast import autocast_backbone_and_encoder
from detr_diff.model.block_map import BlockMap
from detr_diff.model.families import FAMILIES as TABLE
from tests.model.tiny_models import FAMILIES, build, first_of

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
MASKS = torch.ones(2, 64, 64, dtype=torch.bool)
LOWERED = ("model.backbone.", "model.encoder.")
HEADS = re.compile(r"(class|bbox)_embed|enc_(score|bbox)_head|class_labels_classifier|bbox_predictor")


def run(model: nn.Module, lowered: bool) -> tuple[Any, dict[str, torch.dtype]]:
    """The output, and in what type every linear layer and convolution answered."""
    types: dict[str, torch.dtype] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, given: Any, output: Tensor) -> None:
            types[name] = output.dtype

        return hook

    layers = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    hooks = [module.register_forward_hook(note(name)) for name, module in layers]
    with torch.autocast("cpu", torch.bfloat16, enabled=lowered):
        output = model.eval()(pixel_values=IMAGES, pixel_mask=MASKS)
    for hook in hooks:
        hook.remove()
    return output, types


@pytest.mark.parametrize("family", first_of(FAMILIES))
def test_all_but_backbone_and_encoder_is_float32(family: str) -> None:
    torch.manual_seed(0)
    model, _ = build(family)
    untouched = copy.deepcopy(model)
    autocast_backbone_and_encoder(model, TABLE[family].autocast_without_gradient)
    model = copy.deepcopy(model)  # as an average of the weights is
    output, types = run(model, lowered=True)
    others = {name: kind for name, kind in types.items() if not name.startswith(LOWERED)}
    assert set(others.values()) == {torch.float32}
    assert torch.bfloat16 in {kind for name, kind in types.items() if name.startswith("model.backbone.")}
    assert output.logits.dtype == output.pred_boxes.dtype == torch.float32
    (output.logits.sum() + output.pred_boxes.sum()).backward()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in model.parameters())
    backbone: Any = model.model.backbone
    assert any(p.grad is not None and bool(p.grad.any()) for p in backbone.parameters())
    with torch.no_grad():
        (ours, _), (theirs, _) = run(model, lowered=False), run(untouched, lowered=False)
    assert torch.equal(ours.logits, theirs.logits)
    assert torch.equal(ours.pred_boxes, theirs.pred_boxes)


EXACT = ("model.input_projection",)  # the encoder adds to it, layer for layer
LESS = ["detr", "rt_detr", "rt_detr_v2"]


@pytest.mark.parametrize("inference", [torch.inference_mode, torch.no_grad])
@pytest.mark.parametrize("family", first_of(LESS))
def test_where_nothing_learns_heads_alone_are_float32(family: str, inference: Any) -> None:
    """In evaluation, and when outputs are made to be kept."""
    torch.manual_seed(0)
    model, row = build(family)
    autocast_backbone_and_encoder(model, row.autocast_without_gradient)
    exact, types = run(model, lowered=True)
    assert {types[name] for name in types if not name.startswith(LOWERED)} == {torch.float32}
    with inference():
        output, types = run(model, lowered=True)
        _, full = run(model, lowered=False)
    heads = {name: kind for name, kind in types.items() if HEADS.search(name)}
    assert len(heads) > 3
    assert set(heads.values()) == {torch.float32}
    assert {types[name] for name in types if name not in (*heads, *EXACT)} == {torch.bfloat16}
    assert output.logits.dtype == output.pred_boxes.dtype == torch.float32
    torch.testing.assert_close(output.pred_boxes, exact.pred_boxes, rtol=0, atol=0.02)
    assert set(full.values()) == {torch.float32}


@pytest.mark.parametrize("family", first_of(LESS))
def test_what_is_frozen_is_the_same_in_training_and_in_evaluation(family: str) -> None:
    """Or it would matter whether outputs are kept."""
    torch.manual_seed(0)
    model, row = build(family)
    blocks = BlockMap(model, row)
    autocast_backbone_and_encoder(model, row.autocast_without_gradient)
    for name, weight in model.named_parameters():
        weight.requires_grad_(blocks.of(name) in ("class_head", "box_head"))
    _, training = run(model, lowered=True)
    with torch.inference_mode():
        _, evaluation = run(model, lowered=True)
    inside = [name for name in training if name not in EXACT]
    frozen = [name for name in inside if blocks.of(f"{name}.weight") not in ("class_head", "box_head")]
    # The heads of RT-DETR refine boxes between the layers of the decoder, so something learns in it.
    behind = ("model.decoder.",) if family != "detr" else ()
    assert {training[name] for name in frozen if not name.startswith(behind)} == {torch.bfloat16}
    assert {evaluation[name] for name in frozen} == {torch.bfloat16}
    for name, weight in model.named_parameters():
        weight.requires_grad_(blocks.of(name) == "stem")
    _, types = run(model, lowered=True)
    assert {types[name] for name in types if not name.startswith(LOWERED)} == {torch.float32}
