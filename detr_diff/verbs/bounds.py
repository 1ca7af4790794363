"""Numbers that are refused before anything heavy is imported or built."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from detr_diff.errors import SettingError


class Bounds(NamedTuple):
    """What a number may be.

    Attributes:
        least: The smallest.
        most: The largest.
        below: Whether `most` itself is too large.
    """

    least: float
    most: float = math.inf
    below: bool = False

    def hold(self, value: object) -> bool:
        """Whether a value is a number within them."""
        if not isinstance(value, int | float):
            return False
        return self.least <= value < self.most or (not self.below and value == self.most)

    def __str__(self) -> str:
        if math.isinf(self.most):
            return f"at least {self.least}"
        return f"a number from {self.least} to {'below ' if self.below else ''}{self.most}"


SHARE = Bounds(0, 1)
SEED = Bounds(0, 2**32 - 1)
# Every number of the data module, for a verb that has it.
DATA = {
    "data.batch_size": Bounds(1),
    "data.eval_batch_size": Bounds(1),
    "data.num_workers": Bounds(0),
    "data.pad_to": Bounds(1),
    "data.subset": Bounds(1),
}
TRAINING = {
    **DATA,
    "seed": SEED,
    "optimizer.weight_decay": Bounds(0),
    "ema.decay": Bounds(0, 1, below=True),
    "early_stopping.min_delta": Bounds(0),
    "early_stopping.patience": Bounds(1),
    "trainer.accumulate_grad_batches": Bounds(1),
    "trainer.gradient_clip_val": Bounds(0),
    "trainer.check_val_every_n_epoch": Bounds(1),
}
BOUNDS: dict[str, dict[str, Bounds]] = {
    "train": {
        **TRAINING,
        "overlays": Bounds(0),
        "bootstrap": Bounds(0),
        "checkpoint.every_minutes": Bounds(0),
        "checkpoint.every_n_steps": Bounds(0),
    },
    "doctor": {
        **TRAINING,
        "inspect": Bounds(1),
        "shown": Bounds(0),
        "memorise.steps": Bounds(0),
        "memorise.seconds": Bounds(0),
    },
    "evaluate": {
        **DATA,
        "seed": SEED,
        "overlays": Bounds(0),
        "bootstrap": Bounds(0),
        "disturbances.pairs": Bounds(1),
    },
    "predict": {**DATA, "threshold": SHARE},
    "compare": {"seed": SEED, "bootstrap": Bounds(100)},
    "bench": {
        "turns": Bounds(1),
        "pairs": Bounds(1),
        "batch_size": Bounds(1),
        "accumulate": Bounds(1),
        "epochs": Bounds(2),
        "threads": Bounds(1),
    },
    "data synth": {
        "pairs": Bounds(1),
        "scenes": Bounds(1),
        "width": Bounds(64),
        "height": Bounds(64),
        "seed": Bounds(0),
        "noise": Bounds(0),
        "shake": Bounds(0),
        "turn": Bounds(0),
        "empty": SHARE,
        "appear": SHARE,
    },
    "data import": {
        "moved_iou": SHARE,
        "mot.val": SHARE,
        "mot.test": SHARE,
        "mot.min_visible": SHARE,
        "mot.stride": Bounds(1),
        "mot.gap": Bounds(0),
    },
    "data check": {"seed": SEED, "inspect": Bounds(1), "shown": Bounds(0)},
}
# Arguments of the Trainer with which training would end without a result, and what to do instead.
USELESS = {
    "limit_val_batches": "without a validation there is no best checkpoint",
    "val_check_interval": "without a validation there is no best checkpoint",
    "limit_train_batches": "nothing would be learnt",
    "limit_test_batches": "without a test there are no final figures",
}
ELSEWHERE = {
    "fast_dev_run": "a short run: data.subset=8, and few epochs in the stages",
    "overfit_batches": "data.subset=8 learns few pairs",
    "max_steps": "stages.<name>.epochs says how long; data.subset makes epochs shorter",
    "min_epochs": "stages.<name>.patience says when a stage may end before its epochs",
    "min_steps": "stages.<name>.patience says when a stage may end before its epochs",
    "max_time": "stages.<name>.epochs says how long; SIGTERM stops a run, and resume=true goes on with it",
}
HALVES = ("bf16-true", "16-true")

# A resumed run may differ in these and still end the same.
FREE = (
    "resume",
    "debug",
    "runs",
    "run_name",
    "overlays",
    "bootstrap",
    "report",
    "guards.",
    "trainer.enable_progress_bar",
    "logger",
    "data.num_workers",
    "data.cache",
    "checkpoint.every_minutes",
    "checkpoint.every_n_steps",
    # The same pairs elsewhere: what they are is in the checkpoint.
    "data.root",
    # Where a run died of memory it must be able to go on with less.
    "data.eval_batch_size",
    "kept_prefix.",
    "trainer.num_sanity_val_steps",
)


def require_bounds(verb: str, settings: DictConfig) -> None:
    """Refuse numbers that make no sense.

    Args:
        verb: As on the command line.
        settings: Of it.

    Raises:
        SettingError: A number is out of its bounds.
    """
    for key, bounds in BOUNDS.get(verb, {}).items():
        value: Any = OmegaConf.select(settings, key)
        if value is not None and not bounds.hold(value):
            raise SettingError(f"{key}={value}: {bounds}")


def require_result(trainer: DictConfig) -> None:
    """Refuse what would end a training without a result.

    Args:
        trainer: The section.

    Raises:
        SettingError: An argument of the Trainer leaves nothing to learn, or says what the stages say.
    """
    for key, why in USELESS.items():
        if trainer.get(key) == 0:
            raise SettingError(f"trainer.{key}={trainer[key]}: {why}")
    for key, instead in ELSEWHERE.items():
        if trainer.get(key) not in (None, False, -1):
            raise SettingError(f"trainer.{key}={trainer[key]}: not taken; {instead}")
    every = trainer.get("val_check_interval")
    if not (every is None or isinstance(every, int | float)):
        raise SettingError(
            f"trainer.val_check_interval={every}: a number of batches or a share of an epoch; "
            "checkpoint.every_minutes says how often a run is saved"
        )


def require_exact(trainer: DictConfig) -> None:
    """Refuse a precision in which more than the model is rounded.

    Args:
        trainer: The section.

    Raises:
        SettingError: Lightning would round the boxes of the labels, the sums of the metrics and averaged
            weights, too.
    """
    if trainer.get("precision") in HALVES:
        raise SettingError(
            f"trainer.precision={trainer.precision}: would round the boxes of the labels, too, by up to four "
            "pixels; bf16-mixed keeps what learns from them in float32"
        )


def require_validation(trainer: dict[str, Any], batches: Sequence[int]) -> None:
    """Refuse an interval of validation that is longer than an epoch.

    Args:
        trainer: The section.
        batches: Of each epoch.

    Raises:
        SettingError: Lightning would stop in a stage that has fewer batches.
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
