"""transformers replaces a timm backbone's batch norm, and with it loses the activation inside."""

import copy

import pytest
import timm
import torch
from transformers import DetrConfig, DetrForObjectDetection

from detr_diff.errors import SettingError
from detr_diff.model.batch_norm import require_plain_batch_norm
from detr_diff.model.load import load_model
from tests.model.tiny_models import SIZE


@pytest.mark.parametrize(
    ("backbone", "live"),
    [
        ("efficientnet_b0", True),
        ("efficientnet_b0", False),
        ("mobilenetv3_small_100", False),
        ("regnety_002", True),
        ("resnet18", False),
    ],
)
def test_a_backbone_computes_what_timm_s_does(backbone: str, live: bool) -> None:
    torch.manual_seed(0)
    transfer = {"batch_norm": "live" if live else "frozen"}
    model, _, _ = load_model("detr", ["a"], config={**SIZE, "backbone": backbone}, transfer=transfer)
    reference = timm.create_model(backbone, features_only=True, out_indices=(1, 2, 3, 4)).eval()
    for name, tensor in reference.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    ours = model.model.backbone.model.eval()
    problems = ours.load_state_dict(reference.state_dict(), strict=False)
    assert not problems.missing_keys
    assert all("num_batches_tracked" in key for key in problems.unexpected_keys)
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for features, expected in zip(ours(images), reference(images), strict=True):
            torch.testing.assert_close(features, expected, atol=1e-5, rtol=0)
    if live:
        ours.train()(images)
        after = ours.state_dict()
        means = [name for name in after if name.endswith("running_mean")]
        assert not any(torch.equal(after[name], reference.state_dict()[name]) for name in means)


def test_transformers_alone_still_loses_them() -> None:
    """When this fails, restore_batch_norm() has less to do."""
    model = DetrForObjectDetection(DetrConfig(**{**SIZE, "backbone": "efficientnet_b0"}))
    assert not any(hasattr(module, "act") for name, module in model.named_modules() if name.endswith("bn1"))


@pytest.mark.parametrize(("backbone", "holds"), [("efficientnet_b0", True), ("resnet18", False)])
def test_sync_batch_norm_of_torch_is_refused_where_it_drops_the_activation(
    backbone: str, holds: bool
) -> None:
    config = {**SIZE, "backbone": backbone}
    model, _, _ = load_model("detr", ["a"], config=config, transfer={"batch_norm": "live"})
    own = model.model.backbone.model.eval()
    converted = torch.nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(own))
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        same = all(torch.allclose(a, b) for a, b in zip(own(images), converted(images), strict=True))
    assert same is not holds
    if holds:
        with pytest.raises(SettingError, match="sync_batchnorm=true: batch norm of this backbone holds"):
            require_plain_batch_norm(model)
    else:
        require_plain_batch_norm(model)
