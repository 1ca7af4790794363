"""What a user of Lightning or of finetuning-scheduler would write to get the two schedules."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attempt import BACKBONE, BASE, CONTROL, FTS, OURS, Attempt
from lightning import Callback, LightningModule
from lightning.pytorch.callbacks import BackboneFinetuning, BaseFinetuning
from tiny_detr import TinyDetr
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LambdaLR
from wanted import STEPS, wanted

FOLDER = Path(__file__).parent / "schedules"


def learning(module: TinyDetr) -> Optimizer:
    """The optimizer of Lightning's manual: of the parameters that learn at the start."""
    return AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-4, weight_decay=1e-4)


def with_lambda(module: TinyDetr) -> Any:
    """The same, with the report's rates as factors of 1e-4."""
    optimizer = learning(module)
    scheduler = LambdaLR(optimizer, lambda step: wanted("report", "heads", step) / 1e-4)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def with_cosines(module: TinyDetr) -> Any:
    """The same, with the report's cosines."""
    optimizer = learning(module)
    scheduler = CosineAnnealingWarmRestarts(optimizer, T_0=STEPS)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def set_report_rates(module: TinyDetr) -> None:
    """The rate of all groups, from the step."""
    for group in module.optimizers().param_groups:
        group["lr"] = wanted("report", "heads", module.global_step)


def backbone(**settings: Any) -> Callable[[], list[Callback]]:
    """Lightning's callback; its backbone is all but the heads, thawed at epoch 2."""
    return lambda: [BackboneFinetuning(unfreeze_backbone_at_epoch=2, should_align=False, **settings)]


def fall(epoch: int) -> float:
    """Factor of the backbone's rate from one epoch to the next; it is given the number of the next."""
    return 0.2 if epoch - 1 == 4 else 1.0


class Gradual(BaseFinetuning):
    """A subclass as Lightning's manual shows it."""

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        self.freeze(pl_module.backbone)

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Optimizer) -> None:
        detr = pl_module.detr.model
        if epoch == 2:
            names = ("input_projection", "query_position_embeddings", "encoder", "decoder")
            modules = [getattr(detr, name) for name in names]
            self.unfreeze_and_add_param_group(modules, optimizer, lr=1e-4)
        if epoch == 4:
            self.unfreeze_and_add_param_group(detr.backbone, optimizer, lr=1e-5)


def scheduler(name: str, **settings: Any) -> Callable[[], list[Callback]]:
    """finetuning-scheduler with a yaml, at fixed epochs and without going back to the best weights."""

    def build() -> list[Callback]:
        from finetuning_scheduler import FinetuningScheduler

        fixed = {"epoch_transitions_only": True, "restore_best": False}
        return [FinetuningScheduler(ft_schedule=str(FOLDER / f"{name}.yaml"), **fixed, **settings)]

    return build


ATTEMPTS = [
    Attempt(OURS, "report", "settings: stages"),  # see command.py
    Attempt(OURS, "gradual", "settings: stages"),
    Attempt(CONTROL, "", "everything learns, a LambdaLR", list, with_lambda),
    Attempt(
        BACKBONE,
        "report",
        "settings: lambda_func",
        backbone(backbone_initial_lr=5e-5, lambda_func=fall),
        learning,
    ),
    Attempt(
        BACKBONE,
        "report",
        "settings, and a LambdaLR",
        backbone(backbone_initial_lr=1e-4, lambda_func=lambda epoch: 1.0),
        with_lambda,
    ),
    Attempt(
        BACKBONE,
        "report",
        "the thaw by the callback",
        backbone(),
        learning,
        set_report_rates,
        own_code="the rates",
    ),
    Attempt(BACKBONE, "gradual", "two callbacks", lambda: backbone()() + backbone()(), learning),
    Attempt(BASE, "gradual", "a subclass", lambda: [Gradual()], learning, own_code="the thaws"),
    Attempt(FTS, "report", "yaml: three phases", scheduler("report_as_phases"), with_cosines),
    Attempt(FTS, "report", "yaml: an empty third phase", scheduler("report_empty_phase"), with_cosines),
    Attempt(
        FTS,
        "report",
        "yaml: an empty third phase, new_lr_scheduler with init_pg_lrs",
        scheduler("report_new_lr_scheduler"),
        with_cosines,
    ),
    Attempt(
        FTS,
        "report",
        "yaml: two phases, and a LambdaLR",
        scheduler("report_two_phases", apply_lambdas_new_pgs=True),
        with_lambda,
        own_code="the rates",
    ),
    Attempt(FTS, "gradual", "yaml: three phases", scheduler("gradual"), learning),
]
