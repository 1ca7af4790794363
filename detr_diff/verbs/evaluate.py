"""`detr-diff evaluate`: the figures of a checkpoint on any labelled set."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from detr_diff.choices import Registration
from detr_diff.compose import plain
from detr_diff.data.datamodule import MovedObjectDataModule
from detr_diff.data.description import read_description
from detr_diff.errors import SettingError
from detr_diff.evaluation.analysis import analyse
from detr_diff.evaluation.pair_errors import pair_errors, write_pair_errors
from detr_diff.evaluation.tables import tables
from detr_diff.text import render
from detr_diff.training.detector import Detector
from detr_diff.training.overlay_callback import OverlayCallback
from detr_diff.training.run import (
    build_trainer,
    evaluate,
    load_detector,
    quiet,
    write_metrics,
    write_sweep,
)

log = logging.getLogger(__name__)


def run(settings: DictConfig) -> int:
    """Evaluate a checkpoint and write evaluation.json, score_sweep.csv and overlays/."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    quiet()
    detector, trained = load_detector(settings.ckpt_path)
    data = data_as_trained(settings, detector, trained)
    out = Path(settings.out) if settings.out else _out(settings, data)
    if (out / "evaluation.json").exists():
        raise SettingError(f"{out}/evaluation.json exists and is never overwritten; choose another out=...")
    data.setup()
    data.require(settings.split)
    data.fill_cache(settings.split)
    dataset = data.datasets[settings.split]
    out.mkdir(parents=True, exist_ok=True)
    trainer = build_trainer(
        plain(settings)["trainer"], out, callbacks=[OverlayCallback(out / "overlays", settings.overlays)]
    )
    figures = evaluate(trainer, detector, data, settings.split)
    write_sweep(out / "score_sweep.csv", detector.sweep)
    record = detector.metrics.record.compute()
    pairs = [dataset.pairs[int(position)].pair for position in record.images]
    scenes = [pair.scene for pair in pairs]
    analysis = analyse(record, detector.names, detector.threshold, scenes, settings.bootstrap, settings.seed)
    record.save(out / "record.npz")
    errors = pair_errors(record, detector.threshold)
    write_pair_errors(out / "pair_errors.csv", errors, [pair.name for pair in pairs], scenes)
    facts = {
        "split": str(settings.split),
        "pairs": len(dataset),
        "data": str(data.settings.root),
        "checkpoint": str(settings.ckpt_path),
    }
    write_metrics(out / "evaluation.json", {**figures, **facts, **analysis.facts("test/")})
    title = f"{settings.ckpt_path} on {data.settings.root}, {settings.split}: {len(dataset)} pairs"
    for table in tables(
        {key.removeprefix("test/"): value for key, value in figures.items()}, analysis, title
    ):
        print(render(table))
    print(f"written to {out}")
    return 0


def data_as_trained(
    settings: DictConfig, detector: Detector, trained: dict[str, Any], **changed: Any
) -> MovedObjectDataModule:
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
    # Another folder need not have the special csv or label folder of the training data.
    arguments = {**trained, **given, **changed, "augment": "none", "zoom": None, "max_objects": None}
    return MovedObjectDataModule(
        names=detector.names,
        processor=detector.processor,
        comparison=comparison,
        **arguments,
    )


def _out(settings: DictConfig, data: MovedObjectDataModule) -> Path:
    """<run folder>/evaluation/<data folder>-<split>; beside a checkpoint that left its run folder."""
    folder = Path(settings.ckpt_path).parent
    if folder.name == "checkpoints":
        folder = folder.parent
    return folder / "evaluation" / f"{Path(data.settings.root).resolve().name}-{settings.split}"
