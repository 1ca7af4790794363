"""Under autocast backbone and encoder compute in bf16, all else in float32."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detr_diff.model.autocast import autocast_backbone_and_encoder
from tests.model.tiny_models import FAMILIES, build, first_of

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
MASKS = torch.ones(2, 64, 64, dtype=torch.bool)
LOWERED = ("model.backbone.", "model.encoder.")


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
    autocast_backbone_and_encoder(model)
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
