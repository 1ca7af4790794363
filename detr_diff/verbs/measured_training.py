"""A training as `train` builds it, to be measured: settings, Detector, data module, Lightning."""

from pathlib import Path
from time import perf_counter
from typing import Any

from lightning import Callback, Trainer, seed_everything
from omegaconf import DictConfig

from detr_diff.compose import compose
from detr_diff.training.run import build_trainer
from detr_diff.training.staged_finetuning import StagedFinetuning
from detr_diff.verbs.parts import (
    guards,
    new_detector,
    spare_and_compile,
    stage_plan,
    staged_data,
    trainer_settings,
)

STAGES = {1: "heads", 2: "all", 3: "settle"}  # of conf/stages/report.yaml

Job = dict[str, Any]


class Training:
    """What `train` would build for a job, without checkpoints, loggers and pictures."""

    def __init__(self, job: Job, clock: Callback | None, folder: Path, epochs: int, *changed: str) -> None:
        seed_everything(0, verbose=False)
        self.settings = training_settings(job, epochs, changed)
        self.detector, _ = new_detector(self.settings, stage_plan(self.settings))
        self.data, kept = staged_data(self.settings, self.detector)
        self.data.setup()
        spare_and_compile(self.settings, self.detector)
        callbacks = [
            *guards(self.settings, folder),
            StagedFinetuning(folder, "val/loss"),
            *([] if clock is None else [clock]),
        ]
        given = trainer_settings(self.settings, self.detector.plan, kept)
        self.trainer: Trainer = build_trainer(
            given, folder, self.detector, callbacks=callbacks, enable_checkpointing=False
        )

    def fill_cache(self, *splits: str) -> float:
        """The seconds it takes; none when there is no cache."""
        start = perf_counter()
        self.data.fill_cache(*(splits or ("train", "val")))
        return perf_counter() - start

    def fit(self) -> None:
        """Train."""
        self.trainer.fit(self.detector, datamodule=self.data)


def training_settings(job: Job, epochs: int, changed: tuple[str, ...] = ()) -> DictConfig:
    """The settings of train for a job; the user's overrides come last."""
    stage = STAGES[job["stage"]]
    size = ", ".join(f"{side}: {value}" for side, value in job["size"].items())
    pretrained = job["weights"] or "null"
    words = [
        f"model={job['model']}",
        f"model.pretrained={pretrained}",
        f"model.transfer.batch_norm={job['batch_norm']}",
        f"model.processor.size={{{size}}}",
        "stages=report",
        *(f"~stages.{other}" for other in STAGES.values() if other != stage),
        f"stages.{stage}.epochs={epochs}",
        f"data.root={job['data']}",
        f"data.batch_size={job['batch_size']}",
        f"data.cache_dir={job.get('out', '.')}/cache",  # empty at first, and gone afterwards
        "data.augment=none",  # the reference has none
        "data.val=0",
        f"trainer.accelerator={'cpu' if job['device'] == 'cpu' else 'gpu'}",
        f"trainer.accumulate_grad_batches={job['accumulate']}",
        "trainer.enable_progress_bar=false",
        "trainer.num_sanity_val_steps=0",
        "trainer.limit_val_batches=0",  # validation is measured by itself
        "guards.first_batch=0",
        "logger=csv",
    ]
    return compose("train", [*words, *changed, *job["overrides"]])
