"""Frozen batch norms do their work inside the convolutions before them, and nothing else changes."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from detr_diff.choices import Compare, CompareLevels
from detr_diff.model.batch_norm import frozen_batch_norms
from detr_diff.model.feature_diff import FeatureDiff, single_frame
from detr_diff.model.folded_batch_norm import fold_batch_norms
from detr_diff.model.load import load_model
from tests.model.tiny_models import MODELS, first_of

SIZE = 64


def build(key: str, **settings: Any) -> Any:
    """A model whose batch norms have statistics of their own."""
    torch.manual_seed(0)
    family, config = MODELS[key]
    frozen = {"config": config, "transfer": {"batch_norm": "frozen"}}
    model: Any = load_model(family, ["a", "b"], **frozen, **settings)[0]
    shake(model)
    model.requires_grad_(True)  # transformers freezes some backbones
    return model


def shake(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)
    for norm in frozen_batch_norms(model).values():
        for name, near in {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}.items():
            getattr(norm, name).uniform_(near - 0.2, near + 0.2, generator=generator)


def run(model: Any, channels: int = 3) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    """Output of the backbone, and gradients of its weights."""
    model.eval().zero_grad()
    images = torch.randn(2, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    levels = [features for features, _ in model.model.backbone(images, torch.ones(2, SIZE, SIZE, dtype=bool))]
    sum(level.square().sum() for level in levels).backward()
    gradients = {n: p.grad.clone() for n, p in model.model.backbone.named_parameters() if p.grad is not None}
    return [level.detach() for level in levels], gradients


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * max(1.0, float(theirs.abs().max())))


@pytest.mark.parametrize("key", first_of(MODELS))
def test_outputs_and_gradients_are_the_same(key: str) -> None:
    model = build(key)
    names = list(model.state_dict())
    outputs, gradients = run(model)
    folded = fold_batch_norms(model)
    assert folded == len(frozen_batch_norms(model)) > 0
    assert list(model.state_dict()) == names
    same_outputs, same_gradients = run(model)
    for ours, theirs in zip(same_outputs, outputs, strict=True):
        close(ours, theirs)
    assert gradients
    assert same_gradients.keys() == gradients.keys()
    for name, theirs in gradients.items():
        close(same_gradients[name], theirs)


def test_of_both_frames() -> None:
    model = build("detr", channels=6, feature_diff=FeatureDiff(Compare.abs, CompareLevels.all))
    outputs, _ = run(model, 6)
    assert fold_batch_norms(model) == len(frozen_batch_norms(single_frame(model.model.backbone))) > 0
    close(run(model, 6)[0][-1], outputs[-1])


def test_batch_norm_that_is_alive_is_left_alone() -> None:
    model = load_model("detr", ["a", "b"], config=MODELS["detr"][1])[0]
    assert fold_batch_norms(model) == 0


def test_a_copy_and_loaded_statistics_count() -> None:
    """An average of the weights is a copy; a checkpoint is loaded after the model was built."""
    model = build("detr resnet18")
    plain = copy.deepcopy(model)
    fold_batch_norms(model)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for changed in (plain, copied):
            for parameter in changed.parameters():
                parameter.mul_(1.1)
            for norm in frozen_batch_norms(changed).values():
                norm.running_mean.add_(0.3)
    close(run(copied)[0][0], run(plain)[0][0])
    model.load_state_dict(plain.state_dict())
    close(run(model)[0][0], run(plain)[0][0])


class Forked(nn.Module):
    """The output of its convolution goes into the batch norm and past it."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, len(norm.weight), 1), norm  # type: ignore[arg-type]

    def forward(self, images: torch.Tensor, masks: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        made = self.conv(images)
        return [(made + self.norm(made), masks)]


def test_an_output_that_goes_elsewhere_too_is_not_folded() -> None:
    model = build("detr resnet18")
    model.model.backbone = Forked(next(iter(frozen_batch_norms(model).values())))
    outputs, _ = run(model)
    assert fold_batch_norms(model) == 0
    assert torch.equal(run(model)[0][0], outputs[0])
