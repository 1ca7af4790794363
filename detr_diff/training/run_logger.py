"""Where the figures of a run go: metrics.csv always, TensorBoard or Weights & Biases beside it."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from detr_diff.errors import SettingError, UserError, nearest

KINDS = ("csv", "tensorboard", "wandb")


class RunCSVLogger(CSVLogger):
    """metrics.csv in the run folder.

    Lightning's own logger deletes the file when a run is resumed. This one keeps the rows up to
    the checkpoint's step and drops later ones, which the resumed run writes again.

    Args:
        run_dir: The run folder.
        resumed_step: Optimizer steps done in the checkpoint; None for a new run.
    """

    def __init__(self, run_dir: Path, resumed_step: int | None = None) -> None:
        super().__init__(save_dir=run_dir, name="", version="", flush_logs_every_n_steps=1)
        self.kept: list[dict[str, Any]] = []
        path = run_dir / ExperimentWriter.NAME_METRICS_FILE
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            for row in rows:
                if resumed_step is not None and int(row["step"]) < resumed_step:
                    self.kept.append({k: v for k, v in row.items() if v != ""} | {"step": int(row["step"])})
            # The writer deletes it in any case and warns; what is kept is in memory by now.
            path.unlink()

    @property
    def experiment(self) -> Any:
        fresh = self._experiment is None
        writer = super().experiment
        if fresh and self.kept:
            writer.metrics = self.kept
            self.kept = []
            writer.save()
        return writer

    def log_hyperparams(self, params: Any = None) -> None:
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
        loggers.append(TensorBoardLogger(run_dir, name="", version="tensorboard"))
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
