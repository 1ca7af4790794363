"""Where the figures of a run go: metrics.csv always, TensorBoard or Weights & Biases beside it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from detr_diff.errors import SettingError, UserError, nearest
from detr_diff.evaluation.confusion import Confusion
from detr_diff.evaluation.score_sweep import Sweep
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


def log_result(
    loggers: Sequence[Logger], split: str, figures: Mapping[str, float], sweep: Sweep, confusion: Confusion
) -> None:
    """Show the final figures in Weights & Biases, where it is used.

    The figures become the summary of the run; the score sweep and the confusion matrix become
    tables of numbers with a chart each.

    Args:
        loggers: Of the run.
        split: What the figures are of, test or val.
        figures: As in metrics.json.
        sweep: On the same pairs.
        confusion: On the same pairs.
    """
    run: Any = next((one.experiment for one in loggers if isinstance(one, WandbLogger)), None)
    if run is None:
        return
    import wandb

    columns = ("iou", "score", "precision", "recall", "f1")
    rows = [[round(value, 6) for value in row] for row in sweep.rows()]
    loosest = [row for row in rows if row[0] == rows[0][0]]
    curves = wandb.plot.line_series(
        xs=[row[1] for row in loosest],
        ys=[[row[place] for row in loosest] for place in (2, 3, 4)],
        keys=list(columns[2:]),
        title=f"precision, recall and F1 at IoU {rows[0][0]:g}",
        xname="score threshold",
    )
    fields = {"Actual": "true", "Predicted": "predicted", "nPredictions": "number"}
    # Not wandb.plot.confusion_matrix: that wants every single object, and knows no background.
    cells = [
        [true, predicted, count]
        for true, own in zip(confusion.names, confusion.counts.tolist(), strict=True)
        for predicted, count in zip(confusion.names, own, strict=True)
    ]
    matrix = wandb.plot_table(
        vega_spec_name="wandb/confusion_matrix/v1",
        data_table=wandb.Table(columns=list(fields.values()), data=cells),
        fields=fields,
        string_fields={"title": f"confusion at score {confusion.threshold:g}"},
    )
    run.log(
        {
            f"{split}/score_sweep": wandb.Table(columns=list(columns), data=rows),
            f"{split}/by_score": curves,
            f"{split}/confusion_matrix": matrix,
        }
    )
    # Last: it would hold the figures of the last epoch, not of the best checkpoint.
    run.summary.update({key: value for key, value in figures.items() if not math.isnan(value)})
    run.summary["final_split"] = split


def _wandb(
    settings: Mapping[str, Any], config: Mapping[str, Any], run_dir: Path, name: str, group: str | None
) -> Logger:
    import wandb

    mode: dict[str, Any] = {"mode": "offline"} if settings["offline"] else {}
    logger = WandbLogger(
        project=settings["project"],
        entity=settings["entity"],
        name=name,
        id=_wandb_id(run_dir),
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


def _wandb_id(run_dir: Path) -> str | None:
    """That of the run when it is resumed; else None, for a new one, whatever else has the same name.

    W&B keeps it in the name of its own folder, as wandb/offline-run-20260101_120000-a1b2c3d4.
    """
    folders = sorted(
        (run_dir / "wandb").glob("*run-*-*"), key=lambda folder: folder.name.partition("run-")[2]
    )
    return folders[-1].name.partition("run-")[2].partition("-")[2] if folders else None
