"""What the doctor examines of a training: its weights, stages, input, rates, memory and time."""

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from rich.table import Table

from detr_diff.choices import Cache
from detr_diff.compose import plain
from detr_diff.data.augment import NO_AUGMENTATION
from detr_diff.data.batch import Samples, collate
from detr_diff.data.datamodule import MovedObjectDataModule
from detr_diff.errors import NothingLearns, UserError
from detr_diff.launch import processes
from detr_diff.model.transfer_report import TransferReport
from detr_diff.text import render
from detr_diff.training.compilation import require_backend
from detr_diff.training.detector import Detector
from detr_diff.training.examinations.cost import (
    Cost,
    diagnose_cost,
    free_memory,
    measure_loading,
    measure_step,
    predict_hours,
    predict_memory,
)
from detr_diff.training.examinations.coverage import PRETRAINED, diagnose_coverage
from detr_diff.training.examinations.input_images import diagnose_input, measure_input
from detr_diff.training.examinations.memorising import PAIRS, diagnose_memorising, memorise
from detr_diff.training.examinations.rate_range import diagnose_rates, measure_rates
from detr_diff.training.examinations.schedule import Plan, diagnose_plan
from detr_diff.training.examinations.trial import Trial
from detr_diff.training.examinations.verdict import Diagnosis, fault
from detr_diff.training.gradient_checkpointing import checkpoint_gradients
from detr_diff.training.guards import require_learning
from detr_diff.training.kept_prefix import KeptPrefix
from detr_diff.training.precision import precision_of
from detr_diff.training.run import build_trainer
from detr_diff.training.stage_tables import plan_table
from detr_diff.verbs.bounds import require_validation
from detr_diff.verbs.parts import batches_of_epochs, data_module, trainer_settings
from detr_diff.verbs.places import diagnose_places, require_places

SIZE = 4  # pairs in a step of a trial
# The doctor may be asked where the training will not run, as on the first node of a cluster.
HERE = {"accelerator": "cpu", "devices": 1, "strategy": "auto", "precision": "32-true"}
SLOW = 0.02  # share of memorise.seconds that a step of a trial may take


class PlannedTraining:
    """Examines what train would do with these settings."""

    def __init__(
        self,
        settings: DictConfig,
        detector: Detector,
        report: TransferReport,
        diagnosis: Diagnosis,
    ) -> None:
        self.settings = settings
        self.stages = detector.plan
        self.detector = detector
        self.report = report
        self.diagnosis = diagnosis
        if settings.gradient_checkpointing:
            checkpoint_gradients(self.detector.detr)
        self.pretrained = (report.backbone_share() or 0.0) >= PRETRAINED
        trainer: dict[str, Any] = plain(settings)["trainer"]
        self.accelerator = str(trainer.get("accelerator", "auto"))
        self.precision = precision_of(trainer, detector.detr)
        self.data = self._data()
        self._require_settings()
        self.plan = Plan(
            self.stages,
            len(self.data.datasets["train"]),
            settings.data.batch_size,
            int(trainer.get("accumulate_grad_batches") or 1),
            processes({**trainer, "num_nodes": 1}),
            trainer.get("max_epochs"),
            trainer.get("limit_train_batches"),
        )

    def _require_settings(self) -> None:
        """Refuse what train refuses before its first step, but for what another machine may have.

        Raises:
            SettingError: As there.
        """
        settings, where = self.settings, self.settings.kept_prefix
        kept = KeptPrefix(self.detector, self.data, Cache(where.where), where.gb, settings.data.cache_dir)
        given = trainer_settings(settings, self.stages, kept)
        given.pop("num_nodes", None)
        require_validation(given, batches_of_epochs(given, self.stages, self.data))
        if settings.compile is not None:
            require_backend(settings.compile)
        with TemporaryDirectory() as folder:
            build_trainer({**given, **HERE}, Path(folder), self.detector)

    def examine(self) -> None:
        """All examinations; those that learn are left out where nothing could come of it."""
        diagnosis, detector = self.diagnosis, self.detector
        try:
            require_places(detector, self.data, "train")
        except UserError as error:
            why = "training refuses to start"
            remedy = "model.places=false, or label lines that end in before 3 or after 3"
            diagnosis.causes.append(fault("labels without places", str(error), why, remedy))
            diagnosis.left_out["training"] = "each label must name its place first"
            return
        diagnosis.causes += diagnose_places(detector)
        try:
            require_learning(self.stages.stages, detector.rate_groups)
        except NothingLearns as error:
            why, remedy = "the model has no weights in these blocks", "learn: all"
            diagnosis.causes.append(fault("nothing learns", str(error), why, remedy))
            diagnosis.left_out["training"] = "something must learn first"
            return
        if not len(self.data.datasets["val"]):
            chosen = self.settings.data
            diagnosis.causes.append(
                fault(
                    "no validation pairs",
                    f"no pair is in val (data.split_by={chosen.split_by}, data.val={chosen.val})",
                    "training refuses to start without pairs to choose the best checkpoint on",
                    "data.val=0.2, or val in the split column of pairs.csv",
                )
            )
        try:
            self._examine()
        except (RuntimeError, ValueError) as error:  # out of memory is a RuntimeError, too
            first = (str(error).strip().splitlines() or [""])[0]
            diagnosis.causes.append(
                fault(
                    "a training step fails",
                    f"{type(error).__name__}: {first}",
                    "what fails for a few pairs fails in training",
                    "see the size of the images, the model and the batch; debug=true shows where",
                )
            )
            if self.settings.debug:
                raise

    def _examine(self) -> None:
        """What needs the model to run."""
        diagnosis, detector = self.diagnosis, self.detector
        samples = self._samples()
        batch = detector.transfer_batch_to_device(samples, torch.device("cpu"), 0)
        sides = self._sides()
        images = measure_input(detector.detr, detector.family, detector.processor, batch, sides)
        diagnosis.causes += diagnose_coverage(
            self.report,
            self.stages.stages,
            detector.family.frozen_batch_norm is not None,
            self.plan.pairs,
            self.plan.batch_size,
        )
        diagnosis.causes += diagnose_input(images, self.pretrained)
        schedule = list(diagnose_plan(self.plan, self.pretrained))
        diagnosis.causes += schedule
        timeline = self.stages.timeline(self.plan.steps_per_epoch)
        print(render(plan_table(timeline, detector.detr, detector.rate_groups)))
        diagnosis.figures["plan"] = {
            "optimizer_steps": self.plan.steps,
            "stages": [
                {"stage": s.name, "epochs": epochs, "steps_per_epoch": self.plan.steps_per_epoch(s)}
                | {"learn": list(s.learn), "peak_rate": max(s.rates.values())}
                for s, epochs in zip(self.stages.stages, self.plan.epochs(), strict=True)
            ],
        }
        diagnosis.figures["input"] = {
            key: value for key, value in asdict(images).items() if key != "sides"
        } | {
            "object_sides": np.quantile(images.sides, [0.05, 0.5, 0.95]).round(1).tolist()
            if len(sides)
            else []
        }
        trial = self._trial(samples)
        cost = self._cost(trial)
        diagnosis.causes += diagnose_cost(cost)
        diagnosis.figures["cost"] = asdict(cost)
        print(render(_cost_table(cost)))
        self._learn(trial, cost, bool(schedule))

    def _learn(self, trial: Trial, cost: Cost, scheduled: bool) -> None:
        """The rate range test, and eight pairs by heart."""
        diagnosis, chosen = self.diagnosis, self.settings.memorise
        tests = "learning-rate range and learning by heart"
        if not len(trial.batch.targets) or not any(len(t["boxes"]) for t in trial.batch.targets):
            diagnosis.left_out[tests] = "no training pair has objects"
            return
        if diagnosis.spoilt and not self.settings.thorough:
            diagnosis.left_out[tests] = "mend the problems first; thorough=true tries it nevertheless"
            return
        if not chosen.steps:
            diagnosis.left_out[tests] = "memorise.steps=0"
            return
        seconds = cost.step * trial.size
        if seconds > SLOW * chosen.seconds:
            diagnosis.left_out[tests] = (
                f"a step on {trial.size} pairs takes {seconds:.1f} s on {cost.device}; use a GPU, or "
                f"memorise.seconds={seconds / SLOW:.0f}"
            )
            return
        rates = measure_rates(trial, max(max(stage.rates.values()) for stage in self.stages.stages))
        too_high = list(diagnose_rates(rates))
        learnt = memorise(trial, rates.suggested, chosen.steps, chosen.seconds)
        diagnosis.symptoms += too_high
        diagnosis.symptoms += diagnose_memorising(learnt, self.plan, scheduled or bool(too_high))
        diagnosis.figures["rates"] = asdict(rates) | {"best": rates.best, "suggested": rates.suggested}
        diagnosis.figures["memorising"] = asdict(learnt) | {
            "loss_share": learnt.fell,
            "reach_needed": learnt.reach,
            "reach_planned": self.plan.reach,
        }
        shown = ", ".join(f"{steps} steps {score:.2f}" for steps, score in learnt.scores.items())
        print(
            f"\nlearning-rate range: loss lowest at {rates.best:.2g}, suggested peak {rates.suggested:.1g}, "
            f"planned {rates.planned:g}\n{learnt.pairs} pairs by heart (rate {learnt.rate:.1g}): loss "
            f"{learnt.losses[0]:.3g} to {learnt.losses[-1]:.3g}; AP50 after {shown}"
        )

    def _data(self) -> MovedObjectDataModule:
        """The pairs that can be used, whatever training does about the others."""
        settings = self.settings.copy()
        settings.data.on_error = "skip"
        settings.data.cache = "off"
        data = data_module(settings, self.detector)
        data.setup()
        return data

    def _samples(self) -> Samples:
        """The first training pairs with objects, without augmentation; fewer where there are fewer."""
        dataset = self.data.datasets["train"]
        strength, dataset.strength = dataset.strength, NO_AUGMENTATION
        labelled = [index for index in range(len(dataset)) if len(dataset.pairs[index].labels)]
        # Spread, so that they are of several scenes.
        spread = labelled[:: max(1, len(labelled) // PAIRS)][:PAIRS] or [0]
        samples = collate([dataset[index] for index in spread])
        dataset.strength = strength
        return samples

    def _sides(self) -> Any:
        """Width and height of the training objects in pixels of their frames, [M, 2]."""
        pairs = self.data.datasets["train"].pairs
        sides = [item.labels.boxes[:, 2:] * [item.width, item.height] for item in pairs]
        return np.concatenate([np.zeros((0, 2)), *sides])

    def _trial(self, samples: Samples) -> Trial:
        """At the rates of the stages, those of each block in proportion; what never learns stays frozen."""
        highest: dict[str, float] = {}
        for stage in self.stages.stages:
            for block, rate in stage.rates.items():
                highest[block] = max(rate, highest.get(block, 0.0))
        largest = max(highest.values())
        shares = {block: rate / largest for block, rate in highest.items() if rate}
        cuda = torch.cuda.is_available() and self.accelerator in ("auto", "gpu", "cuda")
        device = torch.device("cuda" if cuda else "cpu")
        chosen = frozenset().union(*(stage.chosen for stage in self.stages.stages))
        return Trial(self.detector, samples, shares, SIZE, self.precision, device, chosen)

    def _cost(self, trial: Trial) -> Cost:
        data, chosen = self.data, self.settings.data
        largest = max((stage.batch_size or self.plan.batch_size) for stage in self.stages.stages)
        largest = min(largest, self.plan.pairs)
        step, load = measure_step(trial), measure_loading(data.datasets["train"])
        hours, waiting = predict_hours(self.plan, step, load, data.workers, len(data.datasets["val"]))
        return Cost(
            device=str(trial.device),
            step=step,
            load=load,
            workers=data.workers,
            cached=chosen.cache != Cache.off,
            batch_size=largest,
            memory=predict_memory(trial, largest),
            free=free_memory(trial.device),
            hours=hours,
            waiting=waiting,
        )


def _cost_table(cost: Cost) -> Table:
    table = Table("planned training", f"on {cost.device}")
    table.add_row("to learn a pair", f"{1000 * cost.step:.0f} ms")
    table.add_row("to load a pair, one process", f"{1000 * cost.load:.0f} ms")
    table.add_row(f"memory for a batch of {cost.batch_size}", f"{cost.memory / 1e9:.2g} GB")
    table.add_row("memory that is free", f"{cost.free / 1e9:.2g} GB")
    table.add_row("all of it, at most", f"{cost.hours:.2g} h")
    table.add_row("of that, waiting for data", f"{cost.waiting:.2g} h")
    return table
