"""Where the figures of a run go: metrics.csv always, TensorBoard or Weights & Biases beside it."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from detr_diff.errors import SettingError, UserError, nearest

KINDS = ("csv", "tensorboard", "wandb")


class MetricsFile:
    """metrics.csv: one row for every call, one column for every key.

    A row is written in one piece, and a new column by a whole new file, so that a kill at any
    moment costs no more than the row that was being written.

    Args:
        path: The file.
        resumed_step: Optimizer steps done in the checkpoint that a run goes on from; rows of later
            steps are dropped, the resumed run writes them again. None: a new run.
    """

    def __init__(self, path: Path, resumed_step: int | None = None) -> None:
        self.path = path
        self.keys: list[str] = []
        rows = []
        if resumed_step is not None and path.exists():
            rows = [row for row in read_metrics(path) if int(row["step"]) < resumed_step]
        self._write_anew(rows)

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Add a row."""
        plain = {key: value.item() if isinstance(value, Tensor) else value for key, value in metrics.items()}
        row = {**plain, "step": step}
        if row.keys() - set(self.keys):
            self._write_anew([*read_metrics(self.path), row])
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.keys).writerow(row)

    def _write_anew(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.keys = sorted({key for row in rows for key, value in row.items() if value != ""})
        unfinished = self.path.with_name(f"{self.path.name}.tmp")
        with unfinished.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.keys, extrasaction="ignore")
            if self.keys:
                writer.writeheader()
            writer.writerows(rows)
        os.replace(unfinished, self.path)


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv; a last one that was not written to its end is left out."""
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    return list(csv.DictReader(io.StringIO(whole)))


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
