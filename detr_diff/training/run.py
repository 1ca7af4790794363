"""Building the parts of a run and writing what it found."""

import csv
import inspect
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import Logger

from detr_diff.data.datamodule import MovedObjectDataModule
from detr_diff.errors import SettingError, UserError, nearest
from detr_diff.evaluation.score_sweep import Sweep
from detr_diff.training.alignment_callback import AlignmentCallback
from detr_diff.training.checkpoints import AtomicCheckpointIO, BestCheckpoint, ResumeCheckpoint
from detr_diff.training.detector import Detector
from detr_diff.training.kept_prefix import KeptPrefix
from detr_diff.training.monitor_guard import less_is_better
from detr_diff.training.overlay_callback import OverlayCallback
from detr_diff.training.precision import precision_of
from detr_diff.training.staged_finetuning import StagedFinetuning
from detr_diff.training.stop import Stop
from detr_diff.training.whole_file import write_whole


def build_trainer(
    settings: Mapping[str, Any],
    run_dir: Path,
    model: LightningModule,
    *,
    loggers: Sequence[Logger] = (),
    callbacks: Sequence[Callback] = (),
    **fixed: Any,
) -> Trainer:
    """A Lightning trainer.

    Args:
        settings: The trainer section, passed through.
        run_dir: Where anything of it is written.
        model: What it will run.
        loggers: May be none.
        callbacks: Beside the progress bar.
        **fixed: Arguments that are ours to set.

    Raises:
        SettingError: Lightning knows no such argument, or refuses its value.
    """
    known = [name for name in inspect.signature(Trainer.__init__).parameters if name != "self"]
    for name in settings:
        if name not in known:
            raise SettingError(f"trainer.{name}: unknown, {nearest(name, known)}")
        if name in ("logger", "callbacks", "default_root_dir", "use_distributed_sampler"):
            raise SettingError(f"trainer.{name}: set by the run itself")
    # Of an averaged model the weights count once.
    precision = precision_of(settings, getattr(model, "detr", model))
    bar = [RichProgressBar()] if settings.get("enable_progress_bar", True) else []
    try:
        return Trainer(
            **{**settings, "precision": precision, **fixed},
            default_root_dir=run_dir,
            logger=list(loggers) or False,
            callbacks=[*bar, *callbacks],
            plugins=[AtomicCheckpointIO()],
            enable_model_summary=False,
            use_distributed_sampler=False,  # ours knows the epoch, the batch and the process
        )
    except (ValueError, TypeError, RuntimeError, MisconfigurationException) as error:
        raise SettingError(f"trainer: {str(error).splitlines()[0]}") from error


def training_callbacks(
    run_dir: Path,
    monitor: str,
    stage_monitor: str,
    min_delta: float,
    every_minutes: float,
    every_n_steps: int,
    overlays: int,
    images: int,
    stop: Stop,
) -> list[Callback]:
    """Stages, pictures, checkpoints.

    Args:
        run_dir: The run folder.
        monitor: The metric of the best checkpoint.
        stage_monitor: The metric that a stage with patience watches.
        min_delta: What is better for such a stage.
        every_minutes: See ResumeCheckpoint.
        every_n_steps: See ResumeCheckpoint.
        overlays: See OverlayCallback.
        images: See OverlayCallback.
        stop: See Stop.
    """
    mode = "min" if less_is_better(monitor) else "max"
    folder = run_dir / "checkpoints"
    return [
        StagedFinetuning(run_dir, stage_monitor, min_delta),
        AlignmentCallback(),
        OverlayCallback(run_dir / "overlays", overlays, images),
        BestCheckpoint(
            folder,
            filename="best",
            monitor=monitor,
            mode=mode,
            enable_version_counter=False,
            save_weights_only=True,  # nobody goes on from it, and it is a third of the size
        ),
        # Last: it keeps the state of all others.
        ResumeCheckpoint(folder, every_minutes, every_n_steps, stop),
    ]


def follow_stages(data: MovedObjectDataModule, detector: Detector, kept: KeptPrefix) -> None:
    """Let the training data of an epoch be as the stage of that epoch says."""
    data.batch_size_at = lambda epoch: detector.timeline.at_epoch(epoch).stage.batch_size
    data.augment_at = lambda epoch: detector.timeline.at_epoch(epoch).stage.augment
    data.augment_of_stages = [stage.augment for stage in detector.plan.stages]
    data.kept_at = kept.at


def load_detector(path: str | Path) -> tuple[Detector, dict[str, Any]]:
    """A detector from a checkpoint, and how its data was read.

    Returns:
        The detector on the CPU, in evaluation mode, and the arguments of its
        MovedObjectDataModule.

    Raises:
        SettingError: No such file, or not a checkpoint of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise SettingError(f"ckpt_path={path}: no such file")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        settings = checkpoint["hyper_parameters"]
        data = dict(checkpoint[MovedObjectDataModule.CHECKPOINT_HYPER_PARAMS_KEY])
        detector = Detector(**settings)
        detector.load_state_dict(checkpoint["state_dict"])
    except UserError:  # a signal to stop is one, too
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        raise UserError(f"ckpt_path={path}: not a checkpoint of detr-diff train ({reason})") from error
    return detector.eval(), data


def evaluate(
    trainer: Trainer, detector: LightningModule, data: MovedObjectDataModule, split: str
) -> dict[str, float]:
    """Loss and detection figures of a split under the keys test/..., as the loggers get them."""
    data.trainer = trainer  # knows how many processes share the split
    (figures,) = trainer.test(detector, dataloaders=data.loader(split), verbose=False)
    return {key: float(value) for key, value in figures.items()}


def write_metrics(path: Path, figures: Mapping[str, Any]) -> None:
    """Flat JSON; what is not finite is null."""
    clean = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in figures.items()
    }
    write_whole(path, json.dumps(clean, indent=2) + "\n")


def write_sweep(path: Path, sweep: Sweep | None) -> None:
    """iou,score,precision,recall,f1 over all classes together."""
    assert sweep is not None
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("iou", "score", "precision", "recall", "f1"))
        rows.writerows([f"{value:.6g}" for value in row] for row in sweep.rows())
