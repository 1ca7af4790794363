"""Guards: a training that cannot work stops before it begins, one that falls apart says so."""

import copy
import logging
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from lightning import Callback, Trainer
from torch import Tensor

from detr_diff.data.batch import Batch
from detr_diff.errors import NothingLearns, SettingError, UserError
from detr_diff.model.blocks import RateGroup, let_learn, parameter_groups
from detr_diff.training.stages import Stage

log = logging.getLogger(__name__)


def require_learning(stages: Iterable[Stage], groups: Sequence[RateGroup]) -> None:
    """Refuse a stage in which no parameter learns.

    Args:
        stages: Of a plan that is bound to the model.
        groups: Its parameters.

    Raises:
        NothingLearns: Nothing is chosen that the model has, or the rate of all that is chosen is 0.
    """
    for stage in stages:
        learns = (stage.rates.get(g.block) and g.multiple for g in groups if stage.chosen & set(g.names))
        if not any(learns):
            having = ", ".join(dict.fromkeys(group.block for group in groups))
            raise NothingLearns(f"stages.{stage.name}: nothing learns; blocks with parameters: {having}")


class SyncGuard(Callback):
    """Stops when the weights of several processes are no longer the same, bit for bit."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.world_size == 1:
            return
        sums = pl_module.all_gather(checksum(pl_module.detr.parameters()))
        if len(set(sums.tolist())) > 1:
            raise UserError(
                f"the processes have different weights after epoch {trainer.current_epoch} (checksums "
                f"{sums.tolist()}): they no longer train the same model"
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
        labels = detector.labels(batch)
        losses: list[float] = []
        with torch.random.fork_rng():
            for step in range(PATIENCE * self.steps + 1):
                torch.manual_seed(0)  # the same dropout and denoising: only the weights differ
                with detector.trainer.precision_plugin.forward_context():
                    loss = detr(pixel_values=batch.images, pixel_mask=batch.masks, labels=labels).loss
                losses.append(float(loss.detach()))
                if step >= self.steps and min(losses[1:]) < losses[0]:
                    break
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return losses
