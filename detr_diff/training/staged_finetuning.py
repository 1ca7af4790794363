"""The callback that carries the stages out."""

import logging
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer

from detr_diff.model.block_names import ALIASES
from detr_diff.model.blocks import let_learn
from detr_diff.text import render
from detr_diff.training.monitor_guard import less_is_better
from detr_diff.training.schedule_figure import Span as StageSpan
from detr_diff.training.schedule_figure import draw_schedule, drawn_steps
from detr_diff.training.stage_tables import (
    plan_table,
    planned_rates,
    stage_figures,
    stage_rows,
    stage_table,
)
from detr_diff.training.stages import Span, ended_early

log = logging.getLogger(__name__)


class StagedFinetuning(Callback):
    """Freezes and unfreezes blocks as the stages of the detector's plan say, and ends them.

    Stage and rates are functions of the epoch, the step and the values of the monitor so far;
    these values are all that a checkpoint must keep. No parameter group is added, so a resumed
    run cannot disagree with an unbroken one.

    Args:
        folder: Where schedule.png goes.
        monitor: The metric that a stage with patience watches.
        min_delta: What counts as better.
    """

    def __init__(self, folder: Path, monitor: str, min_delta: float = 0.0) -> None:
        self.folder = folder
        self.monitor = monitor
        self.min_delta = min_delta
        self.validations: list[tuple[int, float, int]] = []  # epoch, value, optimizer step
        self.announced = False

    def state_dict(self) -> dict[str, Any]:
        return {"validations": [list(row) for row in self.validations]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # Older checkpoints have no steps.
        rows = [(*row, -1)[:3] for row in state_dict["validations"]]
        self.validations = [(int(epoch), float(value), int(step)) for epoch, value, step in rows]

    # Loaders are built before a training starts, and what they load depends on the stage.
    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._decide(pl_module)

    # Both hooks: a run resumed inside an epoch gets no epoch-start call.
    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.announced = False
        span = self._apply(trainer, pl_module)
        if trainer.is_global_zero:
            log.info("%s", render(plan_table(pl_module.timeline, pl_module.detr, pl_module.rate_groups)))
            self._draw(pl_module)
        if (trainer.global_step - span.first_step) % span.steps_per_epoch:  # resumed inside an epoch
            self._announce(pl_module, span)
            self.announced = True
        # A run that was killed after its last epoch has nothing left to do.
        trainer.should_stop = trainer.should_stop or trainer.current_epoch >= pl_module.timeline.epochs

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        span = self._apply(trainer, pl_module)
        begins = trainer.current_epoch == span.first_epoch
        if begins or not self.announced:
            figures = self._announce(pl_module, span)
            for logger in trainer.loggers if begins else ():
                logger.log_metrics(figures, step=trainer.global_step)
        self.announced = True

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        loop: Any = trainer.fit_loop.epoch_loop
        if loop.batch_progress.is_last_batch and _ends(trainer, pl_module):
            # After a batch with which it is to stop Lightning validates, whatever the interval.
            trainer.should_stop = True

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        patient = any(stage.patience is not None for stage in pl_module.plan.stages)
        step = trainer.global_step
        if trainer.sanity_checking or not patient:
            return
        if self.validations and self.validations[-1][2] == step:
            return  # nothing was learnt since the one before
        self.validations.append((trainer.current_epoch, float(trainer.callback_metrics[self.monitor]), step))
        before = dict(pl_module.ended)
        self._decide(pl_module)
        for index in pl_module.ended.keys() - before.keys():
            stage = pl_module.plan.stages[index]
            reason = f"{stage.patience} validations without a better {self.monitor}"
            log.info("stage %s ends after this epoch: %s", stage.name, reason)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        trainer.should_stop = trainer.should_stop or _ends(trainer, pl_module)

    def _decide(self, detector: Any) -> None:
        sign = -1.0 if less_is_better(self.monitor) else 1.0
        judged = [(epoch, value) for epoch, value, _ in self.validations]
        detector.ended = ended_early(detector.plan.stages, judged, sign, self.min_delta)

    def _apply(self, trainer: Trainer, detector: Any) -> Span:
        span: Span = detector.timeline.at_epoch(trainer.current_epoch)
        detector.train()
        let_learn(detector.detr, detector.family, span.stage.chosen)
        if _ends(trainer, detector) and trainer.check_val_every_n_epoch is not None:
            trainer.check_val_every_n_epoch = 1  # or the last epochs would never be judged
        return span

    def _draw(self, detector: Any) -> None:
        """schedule.png: the rates of all blocks over the steps to come."""
        timeline = detector.timeline
        spans = [
            StageSpan(span.stage.name, span.epochs * span.steps_per_epoch, span.epochs)
            for span in timeline.spans
        ]
        steps = drawn_steps(spans)
        rates = planned_rates(detector.rate_groups, timeline, steps)
        draw_schedule(self.folder / "schedule.png", spans, rates, steps, ALIASES)

    def _announce(self, detector: Any, span: Span) -> dict[str, float]:
        """Say what learns from now on, on the console and in the log; the same as figures."""
        stage = span.stage
        rows = stage_rows(detector.detr, detector.rate_groups, stage)
        title = f"stage {span.number} of {len(detector.plan.stages)}: {stage.name}, {stage.epochs} epochs"
        log.info("%s", render(stage_table(rows, title)))
        return {"stage": float(span.number), **stage_figures(rows)}


def _ends(trainer: Trainer, detector: Any) -> bool:
    """Whether this is the last epoch of the training."""
    most = trainer.max_epochs
    epochs: int = detector.timeline.epochs
    return trainer.current_epoch + 1 >= (epochs if most is None or most < 0 else min(most, epochs))
