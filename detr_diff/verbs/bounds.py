"""Settings that are refused before anything heavy is imported or built."""

import math
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from detr_diff.errors import SettingError

# Setting to the smallest and the largest value; the last says whether the largest itself is allowed.
BOUNDS: dict[str, tuple[float, float, bool]] = {
    "seed": (0, 2**32 - 1, True),
    "overlays": (0, math.inf, False),
    "bootstrap": (0, math.inf, False),
    "optimizer.weight_decay": (0, math.inf, False),
    "ema.decay": (0, 1, False),
    "checkpoint.every_minutes": (0, math.inf, False),
    "checkpoint.every_n_steps": (0, math.inf, False),
    "early_stopping.min_delta": (0, math.inf, False),
    "trainer.accumulate_grad_batches": (1, math.inf, False),
    "trainer.gradient_clip_val": (0, math.inf, False),
}
# Arguments of the Trainer with which training would end without a result, and what to do instead.
USELESS = {
    "limit_val_batches": "without a validation there is no best checkpoint",
    "limit_train_batches": "nothing would be learnt",
}
ELSEWHERE = {
    "fast_dev_run": "a short run: data.subset=8, and few epochs in the stages",
    "overfit_batches": "data.subset=8 learns few pairs",
    "max_steps": "stages.<name>.epochs says how long; data.subset makes epochs shorter",
    "max_time": "stages.<name>.epochs says how long; SIGTERM stops a run, and resume=true goes on with it",
}

# A resumed run may differ in these and still end the same.
FREE = (
    "resume",
    "debug",
    "runs",
    "overlays",
    "bootstrap",
    "report",
    "trainer.enable_progress_bar",
    "logger",
    "data.num_workers",
    "data.cache",
    "checkpoint.every_minutes",
    "checkpoint.every_n_steps",
)


def require_bounds(settings: DictConfig) -> None:
    """Refuse numbers that make no sense, and what would end a training without a result.

    Raises:
        SettingError: A setting is out of its bounds, or says what the stages say.
    """
    for key, (least, most, including) in BOUNDS.items():
        value: Any = OmegaConf.select(settings, key)
        if value is None:
            continue
        inside = isinstance(value, int | float) and (least <= value < most or (including and value == most))
        if not inside:
            upto = "" if math.isinf(most) else f" to {'' if including else 'below '}{most}"
            raise SettingError(f"{key}={value}: a number from {least}{upto}")
    trainer = settings.trainer
    for key, why in USELESS.items():
        if trainer.get(key) == 0:
            raise SettingError(f"trainer.{key}={trainer[key]}: {why}")
    for key, instead in ELSEWHERE.items():
        if trainer.get(key) not in (None, False, -1):
            raise SettingError(f"trainer.{key}={trainer[key]}: not taken; {instead}")


def require_validation(trainer: dict[str, Any], batches: Sequence[int]) -> None:
    """Refuse an interval of validation that a training never comes to the end of.

    Args:
        trainer: The section.
        batches: Of each epoch.

    Raises:
        SettingError: There would be no validation, and so no best checkpoint; or Lightning would stop
            in a stage that has fewer batches.
    """
    every, limit = trainer["val_check_interval"], trainer["limit_train_batches"]
    if limit is not None:
        batches = [min(n, limit) if isinstance(limit, int) else int(n * limit) for n in batches]
    if not min(batches):
        raise SettingError(f"trainer.limit_train_batches={limit}: leaves no batch in one of the stages")
    across = trainer["check_val_every_n_epoch"] is None
    if not across and isinstance(every, int) and every > min(batches):
        raise SettingError(
            f"trainer.val_check_interval={every}: an epoch has {min(batches)} batches in one of the stages; "
            "a share from 0 to 1, or trainer.check_val_every_n_epoch=null to count across epochs"
        )
    if across and isinstance(every, int) and every > sum(batches):
        raise SettingError(f"trainer.val_check_interval={every}: no validation in {sum(batches)} batches")


def require_epochs(trainer: dict[str, Any], epochs: int) -> None:
    """Refuse a number of epochs that the stages do not have.

    Args:
        trainer: The section.
        epochs: Of all stages.

    Raises:
        SettingError: There are not so many.
    """
    most = trainer["max_epochs"]
    if most is not None and not 1 <= most <= epochs:
        raise SettingError(f"trainer.max_epochs={most}: from 1 to {epochs}, the epochs of all stages")
