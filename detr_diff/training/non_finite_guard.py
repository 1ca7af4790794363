"""Leaves out and reports steps whose loss or gradients are not finite."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from detr_diff.data.batch import Batch, collate
from detr_diff.data.sampler import SampleKey
from detr_diff.errors import SettingError, UserError

log = logging.getLogger(__name__)


class Step(NamedTuple):
    """An optimizer step that the device may still be at.

    Attributes:
        broken: float [] on the host: above 0 when something was not finite.
        there: Waits until `broken` has arrived; None where it has.
        loss: Whether the loss was finite, bool [].
        keys: The samples of its batches.
        number: Of the optimizer step.
        epoch: Which it belongs to.
        trainer: Of the training.
        detector: What learns.
    """

    broken: Tensor
    there: torch.cuda.Event | None
    loss: Tensor
    keys: list[SampleKey]
    number: int
    epoch: int
    trainer: Trainer
    detector: Any


class NonFiniteGuard(Callback):
    """Stops when a loss or a gradient is not a finite number.

    It names the pairs and the ranges of the tensors, and saves the batches of the step, so that
    the failure can be looked at again. The host does not wait for the answer: the optimizer leaves
    such a step out on the device, and the guard looks when the next step has been matched, before
    its gradients come.

    Args:
        folder: Where the batches are saved.
        skips: So many optimizer steps are left out before the training stops.
    """

    def __init__(self, folder: Path, skips: int = 0) -> None:
        if skips < 0:
            raise SettingError(f"guards.skips={skips}: at least 0")
        self.folder = folder
        self.skips = skips
        self.skipped = 0
        self.keys: list[SampleKey] = []
        self.finite: Tensor | None = None
        self.last: Step | None = None
        self.statistics: list[tuple[Tensor, Tensor]] = []  # of live batch norm, now and before the step

    def state_dict(self) -> dict[str, Any]:
        self._look()
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped = state_dict["skipped"]

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self.keys, self.finite = [], None
            if self.skips:  # the forward pass alone changes them
                self.statistics = [(own, own.clone()) for own in _statistics(pl_module)]
        # A batch is a function of these, so they are all that must be remembered.
        self.keys += [SampleKey(trainer.current_epoch, int(target["index"])) for target in batch.targets]

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        finite = loss.detach().isfinite()
        self.finite = finite if self.finite is None else self.finite & finite

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        assert self.finite is not None
        broken = (~self.finite).float()
        scaled = trainer.precision == "16-mixed"  # there the loss scale is found by trying
        if not scaled:
            learnt = (parameter for group in optimizer.param_groups for parameter in group["params"])
            norm = nn.utils.get_total_norm([one.grad for one in learnt if one.grad is not None])
            pl_module.gradient_norm = norm
            broken = torch.maximum(broken, (~norm.isfinite()).float())
        if trainer.world_size > 1:
            broken = trainer.strategy.reduce(broken, reduce_op="sum").clamp(max=1.0)
        if not scaled:
            optimizer.found_inf = broken  # a fused optimizer then changes nothing
        for now, before in self.statistics:
            now.copy_(torch.where(broken > 0, before, now))
        there = None
        if broken.is_cuda:
            there = torch.cuda.Event()
        arriving = broken.to("cpu", non_blocking=True)
        if there is not None:
            there.record()
        step = trainer.global_step, trainer.current_epoch
        self.last = Step(arriving, there, self.finite, self.keys, *step, trainer, pl_module)

    def on_before_zero_grad(self, *_: Any) -> None:
        self._look()

    def on_validation_start(self, *_: Any) -> None:
        self._look()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look()
        if self.skips:
            pl_module.log("train/skipped", float(self.skipped))

    def _look(self) -> None:
        """Whether the last step was left out."""
        step, self.last = self.last, None
        if step is None:
            return
        if step.there is not None:
            step.there.synchronize()
        if not bool(step.broken):
            return
        message = self._report(step)
        if self.skipped >= self.skips:
            raise UserError(message)
        self.skipped += 1
        log.warning("%s\nstep left out, %d of guards.skips=%d", message, self.skipped, self.skips)

    def _report(self, step: Step) -> str:
        trainer: Any = step.trainer
        dataset = trainer.datamodule.datasets["train"]
        path = self.folder / f"step_{step.number}_process_{trainer.global_rank}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = collate([dataset[key] for key in step.keys])
        batch = step.detector.transfer_batch_to_device(samples, torch.device("cpu"), 0)
        names = [dataset.pairs[key.position].pair.name for key in step.keys]
        torch.save({**batch._asdict(), "pairs": names, "epoch": step.epoch, "step": step.number}, path)
        boxes = torch.cat([target["boxes"] for target in batch.targets])
        named = list(step.detector.detr.named_parameters())
        weights = _broken((name, p.detach()) for name, p in named)
        known = [(name, p.grad) for name, p in named if p.grad is not None]
        gradients = _broken(known) if known else "no longer known, a validation came between"
        what = "gradient" if bool(step.loss) else "loss"
        lines = [
            f"the {what} is not finite in epoch {step.epoch}, optimizer step {step.number}; the batch is in "
            f"{path}",
            f"  pairs: {', '.join(names)}",
            f"  images: {_range(batch.images)}; boxes: {_range(boxes)}",
            f"  weights that are not finite: {weights}",
            f"  gradients that are not finite: {gradients}",
            "  a lower learning rate, a longer warm-up, trainer.gradient_clip_val or "
            "trainer.precision=32-true may help; resume=true guards.skips=n goes on and leaves out up to n "
            "such steps",
        ]
        return "\n".join(lines)


def _statistics(detector: Any) -> Iterator[Tensor]:
    """What batch norm that learns has counted."""
    for module in detector.detr.modules():
        if isinstance(module, _BatchNorm) and module.training:
            yield from module.buffers(recurse=False)


def _range(values: Tensor) -> str:
    if not values.numel():
        return "none"
    finite = values[values.isfinite()]
    bad = values.numel() - finite.numel()
    span = f"{float(finite.min()):.4g} to {float(finite.max()):.4g}" if len(finite) else "nothing finite"
    return f"{span}, {bad} not finite" if bad else span


def _broken(tensors: Iterable[tuple[str, Tensor]]) -> str:
    names = [name for name, values in tensors if not bool(values.isfinite().all())]
    shown = ", ".join(names[:5]) or "none"
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
