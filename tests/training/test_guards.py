import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from detr_diff.errors import SettingError
from detr_diff.model.blocks import rate_groups
from detr_diff.model.families import family
from detr_diff.model.selection import ParameterNames
from detr_diff.training.guards import checksum, require_learning
from detr_diff.training.stages import Stage
from tests.conftest import TINY


def words(data_root: Path, runs: Path, *extra: str) -> list[str]:
    return ["train", *TINY, f"data.root={data_root}", f"runs={runs}", "data.subset=6", *extra]


def test_a_rate_that_is_far_too_high_is_seen_before_training(
    data_root: Path, tmp_path: Path, cli: Callable
) -> None:
    result = cli(*words(data_root, tmp_path, "stages.first.lr=1e4"))
    assert result.code == 1
    assert "the loss does not fall when the first batch is repeated" in result.err
    assert "peak rates of stage first: 10000; too high?" in result.err
    assert not (tmp_path / "train/checkpoints").exists()


def test_a_loss_that_is_not_finite_names_the_pairs(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    broken = "stages.first.lr=1e38", "guards.first_batch=0", "trainer.log_every_n_steps=1"
    result = cli(*words(data_root, tmp_path, *broken))
    assert result.code == 1
    message = result.err[result.err.index("is not finite in epoch 0, optimizer step") :]
    assert "weights that are not finite: " in message
    assert "images: " in message
    (path,) = (tmp_path / "train/not_finite").glob("*.pt")
    saved = torch.load(path, weights_only=True)
    assert saved["images"].isfinite().all()
    assert all(name in message for name in saved["pairs"])
    assert json.loads((tmp_path / "train/status.json").read_text())["state"] == "failed"

    assert "resume=true guards.skips=n goes on" in message
    result = cli(*words(data_root, tmp_path, *broken, "resume=true", "guards.skips=100"))
    assert "step left out, 1 of guards.skips=100" in result.err

    result = cli(*words(data_root, tmp_path, *broken, "guards.skips=1", "run_name=skips"))
    assert result.code == 1
    assert result.err.count("step left out, 1 of guards.skips=1") == 1


def test_a_stage_in_which_nothing_learns_is_refused() -> None:
    class Headless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.class_labels_classifier = nn.Linear(2, 2)

    names = ParameterNames(Headless(), family("detr"))
    require_learning([Stage("a", 1, learn=("class_head",)).bound(names)], rate_groups(names))
    message = r"stages.a: nothing learns; blocks with parameters: class_head"
    with pytest.raises(SettingError, match=message):
        require_learning([Stage("a", 1, learn=("box_head",)).bound(names)], rate_groups(names))
    with pytest.raises(SettingError, match=message):
        require_learning([Stage("a", 1, freeze=("/class.*/",)).bound(names)], rate_groups(names))
    with pytest.raises(SettingError, match=message):
        require_learning([Stage("a", 1).bound(names)], rate_groups(names, {"heads": 0.0}))


def test_the_checksum_sees_one_bit() -> None:
    weights = [torch.randn(5, 3), torch.randn(4)]
    other = [one.clone() for one in weights]
    assert checksum(weights) == checksum(other)
    other[1].view(torch.int32)[2] ^= 1
    assert checksum(weights) != checksum(other)
    swapped = [weights[0].flipud(), weights[1]]
    assert checksum(weights) != checksum(swapped)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_are_clipped(precision: str, data_root: Path, tmp_path: Path, cli: Callable) -> None:
    """Lightning refuses to clip for a fused optimizer under mixed precision."""
    norms: list[float] = []

    def note(optimizer: Optimizer, *_: Any) -> None:
        assert all(group["fused"] for group in optimizer.param_groups)
        learnt = (parameter for group in optimizer.param_groups for parameter in group["params"])
        gradients = [parameter.grad for parameter in learnt if parameter.grad is not None]
        norms.append(float(nn.utils.get_total_norm(gradients)))

    hook = register_optimizer_step_post_hook(note)
    settings = (f"trainer.precision={precision}", "trainer.gradient_clip_val=0.01", "guards.first_batch=0")
    assert cli(*words(data_root, tmp_path, *settings)).code == 0
    hook.remove()
    assert norms == pytest.approx([0.01] * len(norms), rel=1e-3)
    assert norms
