"""`detr-diff evaluate`: the figures of a checkpoint, or of a baseline, on any labelled set."""

import logging
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning import Callback
from omegaconf import DictConfig

from detr_diff.choices import BaselineName, Disturbance, Registration
from detr_diff.compose import plain
from detr_diff.data.datamodule import MovedObjectDataModule
from detr_diff.data.description import read_description
from detr_diff.data.new_folder import new_folder
from detr_diff.errors import SettingError
from detr_diff.evaluation.robustness import robustness_table, write_robustness
from detr_diff.evaluation.robustness_figure import draw_robustness
from detr_diff.report.report import FOLDER, PAGE, write_report
from detr_diff.report.robustness import ROBUSTNESS
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
from detr_diff.training.run_folder import EVALUATIONS
from detr_diff.training.status_file import first_process
from detr_diff.verbs.baseline import build_baseline
from detr_diff.verbs.known_pairs import UNDIVIDED, as_divided, parts_in_training, warn_of_known
from detr_diff.verbs.parts import OF_ROOT, with_trained
from detr_diff.verbs.places import require_places

log = logging.getLogger(__name__)

# Data settings that say which folder, or how fast it is read, not which pairs nor how they are compared.
ASIDE = ("root", "num_workers", "batch_size", "cache", "cache_dir", "cache_gb")


def run(settings: DictConfig) -> int:
    """Evaluate and write evaluation.json, its tables beside it, record.npz, overlays/ and report/.

    With robustness=true also robustness.csv and robustness.png.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    prepare_process()
    robustness = _robustness(settings) if settings.robustness else None
    model, data, facts, trained, tuned_on = _model(settings)
    out = _out(settings, data)
    if out.exists() and not settings.out:
        raise SettingError(f"{out} exists and is never overwritten; give out=...")
    # Of several processes the first one writes.
    with new_folder(out) if first_process() else nullcontext(out) as folder:
        data.setup()
        data.require(settings.split)
        parts: dict[str, str] | None = dict.fromkeys(tuned_on, "train")
        if isinstance(model, Detector):
            parts = parts_in_training(model, data, trained)
            warn_of_known(parts or {}, data, trained, settings.split)
        figures = _judge(settings, model, data, folder, robustness)
        dataset = data.datasets[settings.split]
        results = Results.of(model, dataset, figures, parts, settings.bootstrap, settings.seed)
        if first_process():
            _write(settings, folder, model, data, results, facts)
    if first_process():
        # Last: who reads it may have seen enough, as head.
        title = "{model} on {data}, {split}: {pairs} pairs".format_map(_subject(settings, data, results))
        for table in results.tables(title):
            print(render(table))
        print(f"report: {out / FOLDER / PAGE}\nwritten to {out}" if settings.report else f"written to {out}")
    return 0


def _judge(
    settings: DictConfig,
    model: Detector | Baseline,
    data: MovedObjectDataModule,
    folder: Path,
    robustness: Robustness | None,
) -> dict[str, float]:
    """The figures; overlays are drawn, and what disturbs the model is measured first."""
    callbacks: list[Callback] = [OverlayCallback(folder / "overlays", settings.overlays), AlignmentCallback()]
    if isinstance(model, Detector) and model.architecture.places:
        require_places(model, data, settings.split)
        callbacks.append(PlaceCallback())
    data.fill_cache(settings.split)
    if robustness is not None:  # first: what the model keeps of the last evaluation is written and shown
        alone = {**plain(settings)["trainer"], "enable_progress_bar": False}
        endured = robustness.measure(build_trainer(alone, folder, model), model, data, settings.split)
        if first_process():
            write_robustness(folder / ROBUSTNESS, endured)
            draw_robustness((folder / ROBUSTNESS).with_suffix(".png"), endured)
            print(render(robustness_table(endured)))
    trainer = build_trainer(plain(settings)["trainer"], folder, model, callbacks=callbacks)
    return evaluate(trainer, model, data, settings.split)


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
) -> tuple[Detector | Baseline, MovedObjectDataModule, dict[str, Any], dict[str, Any], set[str]]:
    """What is evaluated on what, what is to be said of it, how its training read the data, and by which
    pairs a baseline is tuned."""
    if settings.model is None:
        detector, trained = load_detector(settings.ckpt_path)
        return detector, _data(settings, detector, trained), {}, trained, set()
    names, trained, registration = None, {}, Registration.none
    if settings.ckpt_path is not None:
        detector, trained = load_detector(settings.ckpt_path)
        names, registration = detector.names, detector.comparison.registration
    baseline, data, facts, tuned_on = build_baseline(settings, names, trained, registration)
    return baseline, data, facts, trained, tuned_on


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
    if settings.split == "all" and not as_divided(arguments, trained):
        arguments |= UNDIVIDED
    forgotten = [key for key in OF_ROOT if trained.get(key) is not None and key not in arguments]
    if settings.split != "all" and forgotten:
        settings_of_training = " ".join(f"data.{key}={trained[key]}" for key in forgotten)
        said = "another folder than in training, so without its %s: split=%s may hold other pairs than there"
        log.warning(said, settings_of_training, settings.split)
    return MovedObjectDataModule(
        names=detector.names, processor=detector.processor, comparison=comparison, **arguments
    )


def _write(
    settings: DictConfig,
    folder: Path,
    model: Detector | Baseline,
    data: MovedObjectDataModule,
    results: Results,
    facts: dict[str, Any],
) -> None:
    """Write all files; evaluation.json is the last, as it says that the evaluation is complete."""
    results.write(folder, model)
    if settings.report:
        subject = {"evaluation": _out(settings, data).name, **_subject(settings, data, results)}
        write_report(folder, results, subject)
    known = None not in results.parts
    given = {key: value for key, value in plain(settings.data).items() if value is not None}
    facts |= {
        "learnt_pairs": results.parts.count("train") if known else None,
        "validation_pairs": results.parts.count("val") if known else None,
        "split": str(settings.split),
        "pairs": len(results.pairs),
        "data": str(data.settings.root),
        # So that it leads there from any working folder.
        "checkpoint": settings.ckpt_path and str(Path(settings.ckpt_path).expanduser().absolute()),
        "settings": {
            "precision": settings.trainer.precision,
            "data": {key: value for key, value in given.items() if key not in ASIDE},
        },
    }
    figures = {f"test/{key}": value for key, value in results.figures.items()}
    write_metrics(folder / "evaluation.json", {**figures, **facts, **results.analysis.facts("test/")})


def _subject(settings: DictConfig, data: MovedObjectDataModule, results: Results) -> dict[str, str]:
    """What was evaluated on what."""
    return {
        "model": str(settings.ckpt_path if settings.model is None else settings.model.baseline),
        "data": str(data.settings.root),
        "split": str(settings.split),
        "pairs": str(len(results.pairs)),
    }


def _out(settings: DictConfig, data: MovedObjectDataModule) -> Path:
    """As given, or <run folder>/evaluation/<data folder>-<split>.

    It is beside a checkpoint that left its run folder. A baseline adds its name, and without a checkpoint
    its folder is runs/<baseline>/.
    """
    if settings.out:
        return Path(settings.out).expanduser()
    name = f"{Path(data.settings.root).resolve().name}-{settings.split}"
    if settings.ckpt_path is None:
        return Path("runs", settings.model.baseline, name)
    folder = Path(settings.ckpt_path).parent
    if folder.name == "checkpoints":
        folder = folder.parent
    return folder / EVALUATIONS / (name if settings.model is None else f"{name}-{settings.model.baseline}")
