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
from detr_diff.model.prefix import blocks_before
from tests.model.tiny_models import FAMILIES, build, first_of

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
MASKS = torch.ones(2, 64, 64, dtype=torch.bool)
LOWERED = ("model.backbone.", "model.encoder.")
HEADS = re.compile(r"(class|bbox)_embed|enc_(score|bbox)_head")


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
    autocast_backbone_and_encoder(model, TABLE[family].autocast_in_inference)
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


@pytest.mark.parametrize("family", first_of(["rt_detr", "rt_detr_v2"]))
def test_where_nothing_learns_heads_alone_are_float32(family: str) -> None:
    torch.manual_seed(0)
    model, row = build(family)
    autocast_backbone_and_encoder(model, row.autocast_in_inference)
    with torch.no_grad():  # as kept outputs are made, which training takes
        exact, types = run(model, lowered=True)
    assert types["model.decoder.layers.0.encoder_attn.value_proj"] == torch.float32
    with torch.inference_mode():
        output, types = run(model, lowered=True)
        _, full = run(model, lowered=False)
    heads = {name: kind for name, kind in types.items() if HEADS.search(name)}
    assert len(heads) > 8
    assert set(heads.values()) == {torch.float32}
    inside = {kind for name, kind in types.items() if name.startswith("model.decoder.") and name not in heads}
    assert torch.bfloat16 in inside
    assert types["model.enc_output.0"] == torch.bfloat16
    assert types["model.encoder_input_proj.0.0"] == torch.float32  # before a cut: it may have been kept
    assert output.logits.dtype == output.pred_boxes.dtype == torch.float32
    torch.testing.assert_close(output.pred_boxes, exact.pred_boxes, rtol=0, atol=0.02)
    assert set(full.values()) == {torch.float32}


@pytest.mark.parametrize("family", first_of(FAMILIES))
def test_what_may_be_lowered_is_behind_every_cut(family: str) -> None:
    """Or validation would differ with and without kept outputs."""
    model, row = build(family)
    blocks = BlockMap(model, row)
    before = {block for cut in row.cuts for block in blocks_before(cut)}
    for part in row.autocast_in_inference:
        names = [name for name, _ in model.named_parameters() if name.startswith(f"model.{part}.")]
        assert names
        assert not {blocks.of(name) for name in names} & before
