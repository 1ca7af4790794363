"""Layers that run again in the backward pass give the same gradients, and keep less."""

import pytest
import torch
from torch import Tensor, nn

from detr_diff.errors import SettingError
from detr_diff.training.gradient_checkpointing import checkpoint_gradients
from tests.model.tiny_models import build, first_of

LABELS = [{"class_labels": torch.tensor([0]), "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.3]])}]


def gradients(model: nn.Module) -> tuple[list[Tensor], int, dict[str, Tensor]]:
    """Gradients, the bytes kept for them, and what the model remembers beside them."""
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    model.zero_grad()
    torch.manual_seed(0)  # dropout
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model.train()(pixel_values=images, labels=LABELS).loss
    loss.backward()
    found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    return found, sum(sizes.values()), {key: value.clone() for key, value in model.named_buffers()}


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("key", first_of(["detr resnet18", "conditional_detr", "deformable_detr"]))
def test_gradients_are_the_same_and_less_is_kept(key: str, live: bool) -> None:
    model, _ = build(key)
    if live and "resnet18" in key:
        model.model.backbone.model.bn1 = nn.BatchNorm2d(64)
    plain, much, _ = gradients(model)
    checkpoint_gradients(model)
    statistics = {key: value.clone() for key, value in model.named_buffers()}
    again, less, moved = gradients(model)
    assert len(plain) == len(again) > 0
    for first, second in zip(plain, again, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-7)
    assert less < much
    if live and "resnet18" in key:  # once, not twice
        counted = "model.backbone.model.bn1.num_batches_tracked"
        assert moved[counted] == statistics[counted] + 1


def test_a_model_that_cannot_is_named() -> None:
    with pytest.raises(SettingError, match="gradient_checkpointing=true: rt_detr cannot; detr, conditional"):
        checkpoint_gradients(build("rt_detr")[0])
