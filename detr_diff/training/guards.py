"""Guards: a training that cannot work stops before it begins, one that breaks says where."""

import copy
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from detr_diff.data.dataset import Batch, collate
from detr_diff.data.sampler import SampleKey
from detr_diff.errors import SettingError, UserError
from detr_diff.model.blocks import RateGroup, let_learn, parameter_groups
from detr_diff.training.stages import Stage

log = logging.getLogger(__name__)


class NonFiniteGuard(Callback):
    """Stops when a loss or a gradient is not a finite number.

    It names the pairs and the ranges of the tensors, and saves the batches of the step, so that
    the failure can be looked at again.

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

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped = state_dict["skipped"]

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self.keys, self.finite = [], None
        # A batch is a function of these, so they are all that must be remembered.
        self.keys += [SampleKey(trainer.current_epoch, int(target["index"])) for target in batch.targets]

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        finite = loss.detach().isfinite()
        self.finite = finite if self.finite is None else self.finite & finite

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        learnt = (parameter for group in optimizer.param_groups for parameter in group["params"])
        gradients = [parameter.grad for parameter in learnt if parameter.grad is not None]
        finite = torch.ones((), dtype=torch.bool) if self.finite is None else self.finite
        if trainer.precision != "16-mixed":  # there the loss scale is found by trying
            finite = finite & nn.utils.get_total_norm(gradients).isfinite()
        broken = not bool(finite)
        if trainer.world_size > 1:
            broken = trainer.strategy.reduce_boolean_decision(broken, all=False)
        if not broken:
            return
        message = self._report(trainer, pl_module)
        if self.skipped >= self.skips:
            raise UserError(message)
        self.skipped += 1
        log.warning("%s\nstep left out, %d of guards.skips=%d", message, self.skipped, self.skips)
        for parameter in pl_module.detr.parameters():
            parameter.grad = None
        pl_module.log("train/skipped", float(self.skipped))

    def _report(self, trainer: Trainer, detector: Any) -> str:
        dataset = trainer.datamodule.datasets["train"]  # type: ignore[attr-defined]
        samples = [dataset[key] for key in self.keys]
        step, epoch = trainer.global_step, trainer.current_epoch
        path = self.folder / f"step_{step}_process_{trainer.global_rank}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        batch = detector.transfer_batch_to_device(collate(samples), torch.device("cpu"), 0)
        names = [dataset.pairs[key.position].pair.name for key in self.keys]
        torch.save({**batch._asdict(), "pairs": names, "epoch": epoch, "step": step}, path)
        boxes = torch.cat([target["boxes"] for target in batch.targets])
        named = list(detector.detr.named_parameters())
        weights = _broken((name, p.detach()) for name, p in named)
        gradients = _broken((name, p.grad) for name, p in named if p.grad is not None)
        what = "loss" if self.finite is not None and not bool(self.finite) else "gradient"
        lines = [
            f"the {what} is not finite in epoch {epoch}, optimizer step {step}; the batch is in {path}",
            f"  pairs: {', '.join(names)}",
            f"  images: {_range(batch.images)}; boxes: {_range(boxes)}",
            f"  weights that are not finite: {weights}",
            f"  gradients that are not finite: {gradients}",
            "  a lower learning rate, a longer warm-up, trainer.gradient_clip_val or "
            "trainer.precision=32-true may help; guards.skips=n leaves out up to n such steps",
        ]
        return "\n".join(lines)


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


def require_learning(stages: Iterable[Stage], groups: Sequence[RateGroup]) -> None:
    """Refuse a stage in which no parameter learns.

    Args:
        stages: Of a plan that is bound to the model.
        groups: Its parameters.

    Raises:
        SettingError: Nothing is chosen that the model has, or the rate of all that is chosen is 0.
    """
    for stage in stages:
        learns = (stage.rates.get(g.block) and g.multiple for g in groups if stage.chosen & set(g.names))
        if not any(learns):
            having = ", ".join(dict.fromkeys(group.block for group in groups))
            raise SettingError(f"stages.{stage.name}: nothing learns; blocks with parameters: {having}")


class SyncGuard(Callback):
    """Stops when the weights of several processes are no longer the same, bit for bit."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.world_size == 1:
            return
        sums = pl_module.all_gather(checksum(pl_module.detr.parameters()))
        if len(set(sums.tolist())) > 1:
            raise UserError(
                f"after epoch {trainer.current_epoch} the processes have different weights (checksums "
                f"{sums.tolist()}): their training is no longer one"
            )


def checksum(tensors: Iterable[Tensor]) -> Tensor:
    """Sum of the bits of float32 tensors as whole numbers, int64 []; order and place count."""
    total = torch.zeros((), dtype=torch.int64)
    for tensor in tensors:
        bits = tensor.detach().float().contiguous().view(torch.int32).flatten().long()
        weights = torch.arange(1, len(bits) + 1, device=bits.device)
        total = 31 * total.to(bits.device) + (bits * weights).sum()
    return total


PATIENCE = 6


class FirstBatchGuard(Callback):
    """Sees, before training, whether the loss falls when the first batch is learnt again and again.

    A copy of the model learns, at the first stage's peak rates; the model itself and the global
    random numbers stay as they are. Adam's first steps are as large as its rate, whatever the
    gradient, so the loss often rises before it falls.

    Args:
        steps: How often it is learnt, and PATIENCE times as often where the loss has not fallen by
            then; 0 leaves the check out.
    """

    def __init__(self, steps: int) -> None:
        if steps < 0:
            raise SettingError(f"guards.first_batch={steps}: at least 0")
        self.steps = steps

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.global_step or not self.steps:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        batch = pl_module.transfer_batch_to_device(data.first_batch(), pl_module.device, 0)
        losses = self._learn(pl_module, batch)
        shown = ", ".join(f"{value:.4g}" for value in losses)
        if not min(losses[1:]) < losses[0]:
            stage = pl_module.plan.stages[0]
            rates = ", ".join(f"{rate:g}" for rate in sorted({rate for rate in stage.rates.values() if rate}))
            raise UserError(
                f"the loss does not fall when the first batch is repeated ({shown}); peak rates of stage "
                f"{stage.name}: {rates}; too high? guards.first_batch=0 leaves this check out"
            )
        log.info("the first batch learnt %d times: loss %s", len(losses) - 1, shown)

    def _learn(self, detector: Any, batch: Batch) -> list[float]:
        stage = detector.plan.stages[0]
        detr = copy.deepcopy(detector.detr).train()
        let_learn(detr, detector.family, stage.chosen)
        groups = parameter_groups(detr, detector.rate_groups, 0.0)
        groups = [{**g, "lr": stage.rates.get(g["block"], 0.0) * g["multiple"]} for g in groups]
        optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
        labels = detector.labels(batch.targets)
        images = batch.images.contiguous(memory_format=torch.channels_last)
        losses: list[float] = []
        with torch.random.fork_rng():
            for step in range(PATIENCE * self.steps + 1):
                torch.manual_seed(0)  # the same dropout and denoising: only the weights differ
                loss = detr(pixel_values=images, pixel_mask=batch.masks, labels=labels).loss
                losses.append(float(loss.detach()))
                if step >= self.steps and min(losses[1:]) < losses[0]:
                    break
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return losses
