"""The parts of a training as its settings say: stages, model, data."""

import logging
from pathlib import Path
from typing import Any

from lightning import Callback
from omegaconf import DictConfig

from detr_diff.choices import Cache, Compare, CompareLevels, Diff, ModelInput
from detr_diff.compose import plain
from detr_diff.data.datamodule import MovedObjectDataModule
from detr_diff.data.description import class_names
from detr_diff.data.diff import Comparison
from detr_diff.errors import SettingError
from detr_diff.launch import launched, processes
from detr_diff.model.block_names import contract
from detr_diff.model.feature_diff import FeatureDiff
from detr_diff.model.load import load_model
from detr_diff.model.selection import ParameterNames
from detr_diff.model.transfer_report import TransferReport
from detr_diff.training.compilation import compile_model
from detr_diff.training.detector import Detector
from detr_diff.training.gradient_checkpointing import checkpoint_gradients
from detr_diff.training.guards import FirstBatchGuard, SyncGuard
from detr_diff.training.kept_prefix import KeptPrefix
from detr_diff.training.non_finite_guard import NonFiniteGuard
from detr_diff.training.run import follow_stages
from detr_diff.training.stages import StagePlan

log = logging.getLogger(__name__)

# How features are compared unless it is said, see conf/train.yaml.
COMPARED = {"compare": Compare.signed, "levels": CompareLevels.all}
# Of the data settings: they say something of one folder.
OF_ROOT = ("pairs", "labels", "scene", "subset")


def stage_plan(settings: DictConfig) -> StagePlan:
    """The stages; the patience of early_stopping is that of the last one unless it has its own."""
    stages: dict[str, Any] = plain(settings)["stages"]
    if stages and isinstance(last := list(stages.values())[-1], dict) and last.get("patience") is None:
        last["patience"] = settings.early_stopping.patience
    return StagePlan.from_settings(stages)


def take_both_frames(settings: DictConfig, sweep: bool = False) -> None:
    """Features are compared instead of pixels, so the input is both frames.

    Args:
        settings: Of the job.
        sweep: Whether it is one of several, of which others may compare features: then it warns.

    Raises:
        SettingError: Another way to compare pixels was asked for, or features are not compared at all.
    """
    if ModelInput(settings.model.input) is not ModelInput.feature_diff:
        for key, value in settings.model.feature_diff.items():
            if value != COMPARED[str(key)]:
                unread = (
                    f"model.feature_diff.{key}={value}: nothing reads it without model.input=feature_diff"
                )
                if not sweep:
                    raise SettingError(unread)
                log.warning("%s", unread)
        return
    if settings.data.diff not in (Diff.abs, Diff.frames):  # the default, or after this function
        raise SettingError(
            f"data.diff={settings.data.diff}: with model.input=feature_diff the features are compared, "
            "not the pixels; leave data.diff out"
        )
    settings.data.diff = Diff.frames


def new_detector(settings: DictConfig, plan: StagePlan) -> tuple[Detector, TransferReport]:
    """As the settings say, and what became of the pretrained weights.

    Raises:
        SettingError: A block is to learn, but has no rate; among others.
    """
    names = class_names(Path(settings.data.root), settings.data.names)
    model, architecture, report = load_model(
        settings.model.family,
        names,
        pretrained=settings.model.pretrained,
        config=plain(settings.model)["config"],
        processor=plain(settings.model)["processor"],
        channels=Diff(settings.data.diff).channels,
        feature_diff=_feature_diff(settings),
        transfer=plain(settings.model)["transfer"],
        modification=plain(settings.model)["modification"],
        places=settings.model.places,
    )
    detector = Detector(
        architecture.settings(),
        Comparison.from_settings(plain(settings.data)).settings(),
        plan.settings(),
        settings.optimizer.weight_decay,
        str(settings.loss.normalize),
        settings.ema.decay,
        settings.seed,
        model,
        plain(settings.optimizer)["multiples"],
        settings.optimizer.layer_decay,
    )
    there = set(ParameterNames(detector.detr, detector.family).blocks.values())
    for stage in plan.stages:
        if unrated := contract([block for block in stage.unrated if block in there]):
            raise SettingError(
                f"stages.{stage.name}.lr={stage.lr}: no rate for {', '.join(unrated)}, which "
                f"stages.{stage.name}.learn names; 0 leaves them as they are"
            )
    return detector, report


def _feature_diff(settings: DictConfig) -> FeatureDiff | None:
    if ModelInput(settings.model.input) is not ModelInput.feature_diff:
        return None
    return FeatureDiff.from_settings(settings.model.feature_diff)


def data_module(settings: DictConfig, detector: Detector) -> MovedObjectDataModule:
    """The frame pairs as the detector wants them."""
    chosen: dict[str, Any] = plain(settings.data)
    chosen["root"] = str(Path(chosen["root"]).expanduser().absolute())  # a checkpoint may be moved
    for key in ("names", *detector.comparison.settings()):
        del chosen[key]  # they are in the detector
    return MovedObjectDataModule(
        names=detector.names,
        processor=detector.processor,
        comparison=detector.comparison,
        max_objects=detector.architecture.num_queries,
        seed=settings.seed,
        **chosen,
    )


def staged_data(settings: DictConfig, detector: Detector) -> tuple[MovedObjectDataModule, KeptPrefix]:
    """The frame pairs as the stage of each epoch wants them, and what frozen blocks make of them."""
    data = data_module(settings, detector)
    where = settings.kept_prefix
    kept = KeptPrefix(detector, data, Cache(where.where), where.gb, settings.data.cache_dir)
    follow_stages(data, detector, kept)
    return data, kept


def spare_and_compile(settings: DictConfig, detector: Detector) -> None:
    """Gradient checkpointing and torch.compile, where they are asked for."""
    if settings.gradient_checkpointing:
        checkpoint_gradients(detector.detr)
    if settings.compile is not None:
        for model in {detector.detr, detector.evaluated}:
            compile_model(model, settings.compile)


def guards(settings: DictConfig, folder: Path) -> list[Callback]:
    """What stops a training that cannot work; what they say of a batch goes to the folder."""
    return [
        NonFiniteGuard(folder / "not_finite", settings.guards.skips),
        FirstBatchGuard(settings.guards.first_batch),
        SyncGuard(),
    ]


def trainer_settings(settings: DictConfig, plan: StagePlan, kept: KeptPrefix) -> dict[str, Any]:
    """The trainer section, with what follows from stages and kept outputs."""
    chosen: dict[str, Any] = plain(settings)["trainer"]
    if chosen["max_epochs"] is None:
        chosen["max_epochs"] = plan.epochs
    if kept.possible(plan) or any(stage.batch_size or stage.augment for stage in plan.stages):
        chosen["reload_dataloaders_every_n_epochs"] = 1
    if chosen["strategy"] in ("auto", "ddp") and launched():
        # Blocks are frozen after the model is wrapped, so that all processes thaw them in sync.
        chosen["strategy"] = "ddp_find_unused_parameters_true"
    return chosen


def batches_of_epochs(trainer: dict[str, Any], plan: StagePlan, data: MovedObjectDataModule) -> list[int]:
    """Training batches of each epoch, of a process; `trainer` is the section."""
    sizes = [stage.batch_size for stage in plan.stages for _ in range(stage.epochs)]
    count = processes(trainer)
    return [data.train_batches(size, count) for size in sizes[: trainer["max_epochs"]]]


def same_folder(root: str, other: str | None) -> bool:
    """Whether two paths lead to one folder."""
    return other is not None and Path(root).resolve() == Path(other).resolve()


def with_trained(given: dict[str, Any], trained: dict[str, Any]) -> dict[str, Any]:
    """The data settings of a training, with what the command line says otherwise.

    pairs, labels, scene and subset of the training are dropped when the root is another. The batch size
    is that of an evaluation.

    Args:
        given: Of the command line; a root is absolute.
        trained: How the data of a checkpoint was read; empty without one.
    """
    if "root" in given and not same_folder(given["root"], trained.get("root")):
        trained = {key: value for key, value in trained.items() if key not in OF_ROOT}
    if "batch_size" in given:
        given = {**given, "eval_batch_size": given["batch_size"]}
    return {**trained, **given}


def symmetric_setting(detector: Detector) -> str | None:
    """The setting with which swapped frames look the same, if there is one."""
    if detector.comparison.diff.symmetric:
        return f"data.diff={detector.comparison.diff}"
    features = detector.architecture.feature_diff
    if features is not None and features.compare is Compare.abs:
        return "model.feature_diff.compare=abs"
    return None
