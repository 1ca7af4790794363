"""The guard on its own; whole trainings that break are in test_guards.py."""

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from detr_diff.errors import UserError
from detr_diff.training.non_finite_guard import NonFiniteGuard

GOOD, LOSS, GRADIENT = (1.0, 1.0), (torch.nan, 1.0), (1.0, torch.inf)


class Training:
    """One weight, and a trainer that has just what the guard looks at."""

    def __init__(self, guard: NonFiniteGuard) -> None:
        self.guard = guard
        self.weight = nn.Parameter(torch.ones(()))
        self.optimizer = torch.optim.AdamW([self.weight], lr=0.1, fused=True)
        self.logged: dict[str, float] = {}
        self.module = SimpleNamespace(
            detr=nn.Module(), gradient_norm=None, log=lambda key, value: self.logged.update({key: value})
        )
        self.trainer: Any = SimpleNamespace(
            precision="32-true", world_size=1, accumulate_grad_batches=1, global_step=0, current_epoch=0
        )
        guard._report = lambda step: f"step {step.number}"  # type: ignore[method-assign]

    def step(self, loss: float, gradient: float, forward: Callable[[], object] = lambda: None) -> None:
        batch: Any = SimpleNamespace(targets=[])
        self.guard.on_train_batch_start(self.trainer, self.module, batch, 0)  # type: ignore[arg-type]
        forward()
        self.guard.on_before_zero_grad(self.trainer, self.module, self.optimizer)
        self.guard.on_before_backward(self.trainer, self.module, torch.tensor(loss))  # type: ignore[arg-type]
        self.weight.grad = torch.tensor(gradient)
        self.guard.on_before_optimizer_step(self.trainer, self.module, self.optimizer)
        self.optimizer.step()
        self.trainer.global_step += 1


@pytest.mark.parametrize("bad", [LOSS, GRADIENT], ids=["loss", "gradient"])
def test_a_broken_step_changes_nothing_and_is_told_before_the_next_gradients(
    bad: tuple[float, float], tmp_path: Path
) -> None:
    training = Training(NonFiniteGuard(tmp_path))
    training.step(*GOOD)
    weight, state = float(training.weight), dict(training.optimizer.state[training.weight])
    state = {key: value.clone() for key, value in state.items()}
    training.step(*bad)
    assert float(training.weight) == weight
    assert all(torch.equal(training.optimizer.state[training.weight][key], state[key]) for key in state)
    with pytest.raises(UserError, match="step 1"):
        training.step(*GOOD)
    assert float(training.weight) == weight


@pytest.mark.parametrize("where", ["state_dict", "on_train_epoch_end", "on_validation_start"])
def test_the_last_step_is_looked_at_too(where: str, tmp_path: Path) -> None:
    training = Training(NonFiniteGuard(tmp_path))
    training.step(*GRADIENT)
    called = getattr(training.guard, where)
    with pytest.raises(UserError, match="step 0"):
        called() if where == "state_dict" else called(training.trainer, training.module)


def test_steps_that_may_be_skipped_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    training = Training(NonFiniteGuard(tmp_path, skips=2))
    with caplog.at_level(logging.WARNING):
        for step in (GRADIENT, GOOD, LOSS, GOOD):
            training.step(*step)
        training.guard.on_train_epoch_end(training.trainer, training.module)  # type: ignore[arg-type]
    assert [record.getMessage().splitlines()[-1] for record in caplog.records] == [
        "step left out, 1 of guards.skips=2",
        "step left out, 2 of guards.skips=2",
    ]
    assert training.logged == {"train/skipped": 2.0}
    resumed = NonFiniteGuard(tmp_path, skips=2)
    resumed.load_state_dict(training.guard.state_dict())
    assert resumed.skipped == 2
    again = Training(resumed)
    again.step(*GRADIENT)
    with pytest.raises(UserError):
        again.step(*GOOD)


def test_the_host_does_not_wait(tmp_path: Path) -> None:
    """A tensor without values cannot be looked at: whoever does it fails here."""
    guard = NonFiniteGuard(tmp_path)
    training = Training(guard)
    with FakeTensorMode(allow_non_fake_inputs=True):
        guard.on_before_backward(training.trainer, training.module, torch.ones(()))  # type: ignore[arg-type]
        training.weight.grad = torch.ones(())
        guard.on_before_optimizer_step(training.trainer, training.module, training.optimizer)
    assert guard.last is not None


def test_a_step_that_is_left_out_leaves_batch_norm_as_it_was(tmp_path: Path) -> None:
    """The forward pass has written what is no number into its statistics before anybody knows."""
    training = Training(NonFiniteGuard(tmp_path, skips=1))
    norm, frozen = nn.BatchNorm2d(2), nn.BatchNorm2d(2).eval()
    training.module.detr = nn.ModuleList([norm, frozen])
    training.step(*GOOD, forward=lambda: norm(torch.randn(2, 2, 4, 4)))
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    training.step(*LOSS, forward=lambda: norm(torch.full((2, 2, 4, 4), torch.nan)))
    assert all(torch.equal(buffer, before[name]) for name, buffer in norm.named_buffers())
    training.step(*GOOD, forward=lambda: norm(torch.randn(2, 2, 4, 4)))
    assert int(norm.num_batches_tracked) == 2
    assert norm.running_mean.isfinite().all()
