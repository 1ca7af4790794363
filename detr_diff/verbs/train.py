"""`detr-diff train`: build everything, fit, evaluate the best checkpoint, write the run folder."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, seed_everything
from omegaconf import DictConfig, OmegaConf
from torch import nn

from detr_diff.choices import Diff
from detr_diff.compose import compose, plain
from detr_diff.data.datamodule import MovedObjectDataModule
from detr_diff.errors import SettingError, UserError
from detr_diff.grammar import quoted
from detr_diff.model.batch_norm import require_plain_batch_norm
from detr_diff.report.report import write_report
from detr_diff.text import render
from detr_diff.training.checkpoints import newest, step_and_precision
from detr_diff.training.detector import Detector
from detr_diff.training.guards import require_learning
from detr_diff.training.monitor_guard import MonitorGuard, less_is_better
from detr_diff.training.place_callback import PlaceCallback
from detr_diff.training.precision import precision_of
from detr_diff.training.process import prepare_process
from detr_diff.training.provenance import record_launch
from detr_diff.training.results import Results
from detr_diff.training.run import (
    build_trainer,
    evaluate,
    load_detector,
    training_callbacks,
    write_metrics,
)
from detr_diff.training.run_folder import METRICS
from detr_diff.training.run_logger import build_loggers, log_result
from detr_diff.training.stages import StagePlan
from detr_diff.training.status_callback import StatusCallback
from detr_diff.training.status_file import StatusFile, first_process
from detr_diff.training.stop import Stop
from detr_diff.training.whole_file import write_whole
from detr_diff.verbs.bounds import FREE, require_epochs, require_validation
from detr_diff.verbs.parts import (
    batches_of_epochs,
    guards,
    new_detector,
    spare_and_compile,
    stage_plan,
    staged_data,
    symmetric_setting,
    take_both_frames,
    trainer_settings,
)
from detr_diff.verbs.places import advise_on_places, require_places
from detr_diff.verbs.requirements import require

log = logging.getLogger(__name__)

REPORT = "report.json"


def train(settings: DictConfig, run_dir: Path, group: str | None, status: StatusFile, stop: Stop) -> float:
    """Train in a run folder.

    Args:
        settings: See conf/train.yaml.
        run_dir: The run folder; it exists.
        group: Name of the multirun that the run is part of.
        status: Says how the run stands.
        stop: Takes the signals.

    Returns:
        The best value of the monitored metric, for a sweeper.
    """
    stop.look()  # one that came while libraries were imported
    prepare_process()
    require("train", settings)
    folder = run_dir / "checkpoints"
    take_both_frames(settings, sweep=group is not None)
    finished = settings.resume and (run_dir / METRICS).exists()
    resumed = newest(folder) if settings.resume else None
    _keep_config(settings, run_dir / "config.yaml", finished or resumed is not None)
    if finished:
        log.info("%s has finished already", run_dir)
        return status.status.score
    record_launch(run_dir)
    seed_everything(settings.seed, verbose=False)
    plan = stage_plan(settings)
    require_epochs(plain(settings)["trainer"], plan.epochs)
    detector = _detector(settings, plan, resumed, run_dir)
    data, kept = staged_data(settings, detector)
    data.setup()
    data.require("train", "val")
    _require_objects(data, settings.checkpoint.monitor)
    given = plain(settings)["trainer"]
    if given.get("sync_batchnorm"):
        require_plain_batch_norm(detector.detr)
    require_validation(given, batches_of_epochs(given, plan, data))
    require_places(detector, data, "train", "val", "test")
    data.fill_cache("train", "val", "test")
    if detector.comparison.diff is not Diff.abs and data.datasets["train"].pairs[0].pair.before is None:
        said = "data.diff=%s: the pictures are ready diff images, and predict would make others of two frames"
        log.warning(said, detector.comparison.diff)
    if symmetric := symmetric_setting(detector):
        data.warn_of_symmetric_diff(symmetric)
    else:
        advise_on_places(detector, data)
    final = "test" if len(data.datasets["test"]) else "val"
    if final == "val":
        by_column = all(pair.split == "val" for pair in data.datasets["val"].pairs.frame_pairs())
        why = "the column split names none" if by_column else f"data.test={settings.data.test}"
        log.warning("no test pairs (%s): the final metrics are of validation", why)

    require_learning(detector.plan.stages, detector.rate_groups)
    spare_and_compile(settings, detector)
    callbacks = [*_callbacks(settings, run_dir, stop), StatusCallback(status)]
    if detector.architecture.places:
        callbacks.append(PlaceCallback())
    given = trainer_settings(settings, detector.plan, kept)
    step, precision = (None, "auto") if resumed is None else step_and_precision(resumed)
    if given["precision"] == "auto":  # another machine might choose another one
        # A run from before it was written: chosen as for a small model then.
        given["precision"] = precision or precision_of(given, nn.Identity())
    trainer = build_trainer(given, run_dir, detector, callbacks=callbacks)
    if trainer.precision == "64-true":
        detector.double()  # Lightning would do it after it has loaded a checkpoint, which would be rounded
    # Said, because both may have been chosen by themselves.
    log.info("on %s in %s", trainer.strategy.root_device, trainer.precision)
    name = f"{group}/{run_dir.name}" if group else settings.run_name
    exit_code = 1
    try:
        config = {**plain(settings), **_reported(run_dir)}
        trainer.loggers = build_loggers(plain(settings.logger), config, run_dir, name, group, step)
        trainer.fit(detector, datamodule=data, ckpt_path=resumed, weights_only=True)
        best = folder / "best.ckpt"
        trainer.strategy.barrier()
        if not best.exists():
            raise UserError(f"training ended without a validation, so there is no {best}")
        checkpoint = torch.load(best, map_location="cpu", weights_only=True)
        detector.load_state_dict(checkpoint["state_dict"])
        log.info("best checkpoint: epoch %d", checkpoint["epoch"])
        figures = evaluate(trainer, detector, data, final)
        # In every process: what they have is gathered.
        dataset = data.datasets[final]
        parts = dict.fromkeys((pair.name for pair in dataset.pairs.frame_pairs()), final)
        results = Results.of(detector, dataset, figures, parts, settings.bootstrap, settings.seed)
        if trainer.is_global_zero:
            named = {f"{final}/{key}": value for key, value in results.figures.items()}
            assert detector.sweep is not None
            log_result(trainer.loggers, final, named, detector.sweep, results.analysis.confusion)
            _write_and_show(run_dir, detector, results, final)
            if settings.report:
                pairs = str(len(results.pairs))
                subject = {"run": name, "data": str(data.settings.root), "split": final, "pairs": pairs}
                log.info("report: %s", write_report(run_dir, results, subject, run_dir))
            # Last, as it says that the run has finished.
            write_metrics(run_dir / METRICS, named)
        exit_code = 0
    finally:
        _finish_wandb(exit_code)
    return status.status.score


def _require_objects(data: MovedObjectDataModule, monitor: str) -> None:
    """Refuse to learn from nothing, and to choose the best checkpoint by a figure that is no number."""
    needed = {
        "train": "there is nothing to learn",
        "val": f"checkpoint.monitor={monitor} is not a number then",
    }
    for split, why in needed.items():
        pairs, given = data.datasets[split].pairs, data.settings
        if not pairs.objects_in_all() and (split == "train" or not less_is_better(monitor)):
            raise SettingError(
                f"no objects in the {len(pairs)} pairs of the {split} split of {given.root}: {why}; see "
                f"data.split_by={given.split_by} data.val={given.val} data.test={given.test}"
            )


def _write_and_show(run_dir: Path, detector: Detector, results: Results, split: str) -> None:
    results.write(run_dir, detector)
    write_metrics(run_dir / "analysis.json", results.analysis.facts(f"{split}/"))
    for table in results.tables(f"{run_dir}: best checkpoint on {split}"):
        log.info("%s", render(table))


def _callbacks(settings: DictConfig, run_dir: Path, stop: Stop) -> list[Callback]:
    monitor = settings.checkpoint.monitor
    stage_monitor = settings.early_stopping.monitor or monitor
    return [
        MonitorGuard({"checkpoint.monitor": monitor, "early_stopping.monitor": stage_monitor}),
        *guards(settings, run_dir),
        *training_callbacks(
            run_dir,
            monitor,
            stage_monitor,
            settings.early_stopping.min_delta,
            settings.checkpoint.every_minutes,
            settings.checkpoint.every_n_steps,
            settings.overlays,
            settings.logger.get("images", 0),
            stop,
        ),
    ]


def _detector(settings: DictConfig, plan: StagePlan, resumed: Path | None, run_dir: Path) -> Detector:
    """From the checkpoint when resumed, so that no hub is needed; else as the settings say."""
    if resumed is not None:
        log.info("resuming from %s", resumed)
        return load_detector(resumed)[0]
    detector, report = new_detector(settings, plan)
    if first_process():
        write_whole(run_dir / REPORT, json.dumps({"transfer": report.rows()}, indent=1) + "\n")
    log.info("%s", "\n".join([render(report.table()), *report.lines()]))
    if report.warning:
        log.warning("%s", report.warning)
    return detector


def _keep_config(settings: DictConfig, path: Path, resumed: bool) -> None:
    """Write config.yaml; a resumed run must have the settings that it began with."""
    if resumed and path.exists():
        old, new = _flat(OmegaConf.load(path)), _flat(settings)
        keys = old.keys() | new.keys()
        if new.keys() - old.keys():
            # A setting that is newer than the run: it was as its default is. Stages have names of their own.
            same = [f"data.root={quoted(settings.data.root)}", f"seed={settings.seed}"]
            defaults = _flat(compose("train", same))
            old = {k: v for k, v in defaults.items() if not k.startswith("stages.")} | old
        for key in sorted(keys):
            if old.get(key) != new.get(key) and not key.startswith(FREE):
                raise SettingError(
                    f"resume=true: {key} was {old.get(key)}, now {new.get(key)}; a resumed run must "
                    "have the settings that it began with"
                )
        return
    if first_process():
        path.write_text(OmegaConf.to_yaml(settings), encoding="utf-8")


def _flat(settings: Any, prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in plain(settings).items() if isinstance(settings, DictConfig) else settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat


def _reported(run_dir: Path) -> dict[str, Any]:
    """report.json without its longest lists."""
    path = run_dir / REPORT
    parts = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    long = ("tensors", "unused")
    return {name: {k: v for k, v in part.items() if k not in long} for name, part in parts.items()}


def _finish_wandb(exit_code: int) -> None:
    """Close the W&B run, or the next job of a multirun would write into it."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].finish(exit_code=exit_code)
