"""Where the figures of a run go: metrics.csv always, TensorBoard or Weights & Biases beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from detr_diff.errors import SettingError, UserError, nearest
from detr_diff.training.metrics_file import MetricsFile

KINDS = ("csv", "tensorboard", "wandb")


class RunCSVLogger(Logger):
    """metrics.csv in the run folder; Lightning's own logger deletes it when a run is resumed.

    Args:
        run_dir: The run folder.
        resumed_step: See MetricsFile.
    """

    name = version = ""

    def __init__(self, run_dir: Path, resumed_step: int | None = None) -> None:
        super().__init__()
        self.path = run_dir / "metrics.csv"
        self.resumed_step = resumed_step
        self.file: MetricsFile | None = None

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add a row."""
        if self.file is None:
            self.file = MetricsFile(self.path, self.resumed_step)
        self.file.log(metrics, step or 0)

    def log_hyperparams(self, params: Any = None, *_: Any, **__: Any) -> None:
        """Nothing to do: the run folder has config.yaml."""


def build_loggers(
    settings: Mapping[str, Any],
    config: Mapping[str, Any],
    run_dir: Path,
    name: str,
    group: str | None,
    resumed_step: int | None,
) -> list[Logger]:
    """The loggers of a run.

    Args:
        settings: The logger section: kind, and what that kind needs.
        config: All settings of the run, to be logged.
        run_dir: The run folder.
        name: Of the run; in a multirun with the number of the job.
        group: Name of the multirun.
        resumed_step: See RunCSVLogger.

    Raises:
        SettingError: An unknown kind.
        UserError: Weights & Biases cannot be reached or has no account.
    """
    kind = settings["kind"]
    if kind not in KINDS:
        raise SettingError(f"logger.kind={kind}: unknown, {nearest(kind, KINDS)}")
    loggers: list[Logger] = [RunCSVLogger(run_dir, resumed_step)]
    if kind == "tensorboard":
        loggers.append(TensorBoardLogger(run_dir, name="", version="tensorboard", purge_step=resumed_step))
    if kind == "wandb":
        loggers.append(_wandb(settings, config, run_dir, name, group))
    return loggers


def _wandb(
    settings: Mapping[str, Any], config: Mapping[str, Any], run_dir: Path, name: str, group: str | None
) -> Logger:
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    mode: dict[str, Any] = {"mode": "offline"} if settings["offline"] else {}
    logger = WandbLogger(
        project=settings["project"],
        entity=settings["entity"],
        name=name,
        # The same run again when it is resumed, another for each job of a multirun.
        id=name.replace("/", "-"),
        group=group,
        resume="allow",
        save_dir=run_dir,
        config=dict(config),
        settings=wandb.Settings(init_timeout=30),
        # Not the logger's own `offline`: it sets the environment for every later job too.
        **mode,
    )
    try:
        _ = logger.experiment  # starts the run
    except wandb.Error as error:
        reason = str(error).strip().splitlines()[0]
        message = f"logger=wandb: {reason}; logger.offline=true needs neither network nor account"
        raise UserError(message) from error
    return logger
