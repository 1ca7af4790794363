"""`detr-diff evaluate`: the figures of a checkpoint, or of a baseline, on any labelled set."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning import Callback
from omegaconf import DictConfig

from detr_diff.choices import BaselineName, Disturbance, Registration
from detr_diff.compose import plain
from detr_diff.data.datamodule import MovedObjectDataModule
from detr_diff.data.description import read_description
from detr_diff.data.diff import Comparison
from detr_diff.errors import SettingError, UserError
from detr_diff.evaluation.robustness import robustness_table, write_robustness
from detr_diff.evaluation.robustness_figure import draw_robustness
from detr_diff.report.report import write_report
from detr_diff.text import render
from detr_diff.training.alignment_callback import AlignmentCallback
from detr_diff.training.baseline import Baseline
from detr_diff.training.detector import Detector
from detr_diff.training.overlay_callback import OverlayCallback
from detr_diff.training.place_callback import PlaceCallback
from detr_diff.training.process import prepare_process
from detr_diff.training.results import Results
from detr_diff.training.robustness import Robustness
from detr_diff.training.run import (
    build_trainer,
    evaluate,
    load_detector,
    write_metrics,
)
from detr_diff.verbs.baseline import build_baseline
from detr_diff.verbs.parts import OF_ROOT, same_folder, with_trained
from detr_diff.verbs.places import require_places

log = logging.getLogger(__name__)

# What divides the data; where all of it is as in training, it is known which pairs were learnt.
DIVISION = ("pairs", "labels", "scene", "split_by", "split_seed", "val", "test", "subset")

# What an evaluation says of known pairs, and how they are known.
KNOWN = {
    "learnt_pairs": "that the checkpoint has learnt",
    "validation_pairs": "by which the checkpoint was chosen",
}
Known = dict[str, set[str]]  # key to the names of those pairs


def run(settings: DictConfig) -> int:
    """Evaluate and write evaluation.json, its tables beside it, record.npz, overlays/ and report/.

    With robustness=true also robustness.csv and robustness.png.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    prepare_process()
    robustness = _robustness(settings) if settings.robustness else None
    model, data, facts, trained, known = _model(settings)
    out = Path(settings.out).expanduser() if settings.out else _out(settings, data)
    if (out / "evaluation.json").exists():
        raise _exists(out)
    data.setup()
    data.require(settings.split)
    if isinstance(model, Detector):
        known = _known(model, data, trained, settings.split)
        for key, names in known.items():
            said = "%d of these %d pairs are those %s: split=test is fair"
            log.warning(said, len(names), len(data.datasets[settings.split]), KNOWN[key])
    callbacks: list[Callback] = [OverlayCallback(out / "overlays", settings.overlays), AlignmentCallback()]
    if isinstance(model, Detector) and model.architecture.places:
        require_places(model, data, settings.split)
        callbacks.append(PlaceCallback())
    data.fill_cache(settings.split)
    out.mkdir(parents=True, exist_ok=True)
    if robustness is not None:  # first: what the model keeps of the last evaluation is written and shown
        alone = {**plain(settings)["trainer"], "enable_progress_bar": False}
        endured = robustness.measure(build_trainer(alone, out, model), model, data, settings.split)
        write_robustness(out / "robustness.csv", endured)
        draw_robustness(out / "robustness.png", endured)
        print(render(robustness_table(endured)))
    trainer = build_trainer(plain(settings)["trainer"], out, model, callbacks=callbacks)
    figures = evaluate(trainer, model, data, settings.split)
    _write_and_show(settings, out, model, data, figures, facts, known)
    return 0


def _robustness(settings: DictConfig) -> Robustness:
    """What is measured on disturbed pairs."""
    if settings.model is not None and settings.model.get("baseline") == BaselineName.oracle:
        raise SettingError("robustness=true: model=oracle looks at no picture, so nothing disturbs it")
    chosen = plain(settings.disturbances)
    return Robustness(
        {kind: chosen[kind] for kind in Disturbance},
        [Registration(name) for name in chosen["registration"]],
        chosen["everywhere"],
        chosen["pairs"],
        settings.seed,
    )


def _model(
    settings: DictConfig,
) -> tuple[Detector | Baseline, MovedObjectDataModule, dict[str, Any], dict[str, Any], Known]:
    """What is evaluated on what, what is to be said of it, how its training read the data, known pairs."""
    if settings.model is None:
        detector, trained = load_detector(settings.ckpt_path)
        return detector, _data(settings, detector, trained), {}, trained, {}
    names, trained, registration = None, {}, Registration.none
    if settings.ckpt_path is not None:
        detector, trained = load_detector(settings.ckpt_path)
        names, registration = detector.names, detector.comparison.registration
    baseline, data, facts, tuned_on = build_baseline(settings, names, trained, registration)
    return baseline, data, facts, trained, {"learnt_pairs": tuned_on}


def _data(settings: DictConfig, detector: Detector, trained: dict[str, Any]) -> MovedObjectDataModule:
    """The data as in training, with what the command line says otherwise.

    Raises:
        SettingError: The class names are not those of the checkpoint.
    """
    given = {key: value for key, value in plain(settings.data).items() if value is not None}
    names = given.pop("names", None)
    if "root" in given:
        given["root"] = str(Path(given["root"]).expanduser().absolute())
        names = names or read_description(Path(given["root"])).names or None
    if names is not None and list(names) != detector.names:
        raise SettingError(
            f"class names: the data has {list(names)}, the checkpoint was trained on {detector.names}"
        )
    comparison = detector.comparison
    if "registration" in given:
        comparison = replace(comparison, registration=Registration(given.pop("registration")))
    fixed = {"augment": "none", "zoom": None, "max_objects": None}
    arguments = {**with_trained(given, trained), **fixed}
    if settings.split == "all" and not _as_divided(arguments, trained):
        # No division is needed, and this one asks for nothing.
        arguments |= {"split_by": "pair", "val": 0.0, "test": 0.0}
    forgotten = [key for key in OF_ROOT if trained.get(key) is not None and key not in arguments]
    if settings.split != "all" and forgotten:
        settings_of_training = " ".join(f"data.{key}={trained[key]}" for key in forgotten)
        said = "another folder than in training, so without its %s: split=%s may hold other pairs than there"
        log.warning(said, settings_of_training, settings.split)
    return _module(detector, comparison, arguments)


def _module(detector: Detector, comparison: Comparison, arguments: dict[str, Any]) -> MovedObjectDataModule:
    return MovedObjectDataModule(
        names=detector.names,
        processor=detector.processor,
        comparison=comparison,
        **arguments,
    )


def _as_divided(arguments: Mapping[str, Any], trained: Mapping[str, Any]) -> bool:
    same = all(arguments.get(key) == trained.get(key) for key in DIVISION)
    return same and same_folder(arguments["root"], trained.get("root"))


def _known(detector: Detector, data: MovedObjectDataModule, trained: dict[str, Any], split: str) -> Known:
    """Which pairs of a split the training knows; in another folder than its own nobody knows."""
    then = data
    if not _as_divided(data.hparams, trained):
        if not same_folder(data.settings.root, trained["root"]):
            log.info("another folder than in training: which of these pairs were learnt is not known")
            return {}
        log.info("as they were divided in training:")
        fixed = {"cache": "off", "max_objects": None}
        then = _module(detector, detector.comparison, {**trained, **fixed})
        try:
            then.setup()
        except UserError as error:
            log.warning("which pairs were learnt is not known: %s", error)
            return {}
    names = {
        part: {pair.name for pair in then.datasets[part].pairs.frame_pairs()} for part in ("train", "val")
    }
    own = {pair.name for pair in data.datasets[split].pairs.frame_pairs()}
    found = {"learnt_pairs": names["train"] & own, "validation_pairs": names["val"] & own}
    return {key: pairs for key, pairs in found.items() if pairs}


def _write_and_show(
    settings: DictConfig,
    out: Path,
    model: Detector | Baseline,
    data: MovedObjectDataModule,
    figures: dict[str, float],
    facts: dict[str, Any],
    known: Known,
) -> None:
    dataset = data.datasets[settings.split]
    results = Results.of(model, dataset, figures, settings.bootstrap, settings.seed)
    results.write(out, model)
    # Those that were judged: trainer.limit_test_batches may leave some out.
    judged = set(results.pairs)
    facts |= {key: number for key, pairs in known.items() if (number := len(pairs & judged))}
    facts |= {
        "split": str(settings.split),
        "pairs": len(judged),
        "data": str(data.settings.root),
        "checkpoint": None if settings.ckpt_path is None else str(settings.ckpt_path),
    }
    name = settings.ckpt_path if settings.model is None else settings.model.baseline
    title = f"{name} on {data.settings.root}, {settings.split}: {len(judged)} pairs"
    written = f"written to {out}"
    if settings.report:
        subject = {
            "evaluation": out.name,
            "model": str(name),
            **_subject(data, str(settings.split), len(judged)),
        }
        written = f"report: {write_report(out, results, subject)}\n{written}"
    # After the rest, as it says that the evaluation is complete.
    write_metrics(out / "evaluation.json", {**figures, **facts, **results.analysis.facts("test/")})
    # Last: who reads it may have seen enough, as head.
    for table in results.tables(title):
        print(render(table))
    print(written)


def _subject(data: MovedObjectDataModule, split: str, pairs: int) -> dict[str, str]:
    return {"data": str(data.settings.root), "split": split, "pairs": str(pairs)}


def _exists(out: Path) -> SettingError:
    return SettingError(f"{out}/evaluation.json exists and is never overwritten; choose another out=...")


def _out(settings: DictConfig, data: MovedObjectDataModule) -> Path:
    """<run folder>/evaluation/<data folder>-<split>; beside a checkpoint that left its run folder.

    A baseline adds its name, and without a checkpoint its folder is runs/<baseline>/.
    """
    name = f"{Path(data.settings.root).resolve().name}-{settings.split}"
    if settings.ckpt_path is None:
        return Path("runs", settings.model.baseline, name)
    folder = Path(settings.ckpt_path).parent
    if folder.name == "checkpoints":
        folder = folder.parent
    return folder / "evaluation" / (name if settings.model is None else f"{name}-{settings.model.baseline}")
