"""The baselines of `detr-diff evaluate`, ready to be evaluated."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from detr_diff.choices import BaselineName, Diff, Registration
from detr_diff.compose import plain
from detr_diff.data.datamodule import MovedObjectDataModule
from detr_diff.data.dataset import MovedObjectDataset
from detr_diff.data.description import class_names, read_description
from detr_diff.data.diff import Comparison
from detr_diff.errors import SettingError
from detr_diff.model.threshold_blobs import unprocessed
from detr_diff.training.baseline import Baseline
from detr_diff.training.blob_tuning import CHOICES, tune
from detr_diff.training.oracle import THRESHOLD, Oracle, changed_places, labelled_places
from detr_diff.verbs.known_pairs import UNDIVIDED, as_divided
from detr_diff.verbs.parts import with_trained

log = logging.getLogger(__name__)


def build_baseline(
    settings: DictConfig, names: list[str] | None, trained: dict[str, Any], registration: Registration
) -> tuple[Baseline, MovedObjectDataModule, dict[str, Any], set[str]]:
    """A baseline, the data that it is evaluated on, what is to be said of it, and the pairs it is tuned on.

    Args:
        settings: See conf/evaluate.yaml; `model` names the baseline.
        names: Class names of the checkpoint that says how the data is read, if there is one.
        trained: How the data of that checkpoint was read; empty without.
        registration: Of that checkpoint; the data settings go before.
    """
    model = plain(settings.model)
    try:
        kind = BaselineName(model.get("baseline", ""))
    except ValueError as error:
        raise SettingError(
            f"model: evaluate takes {' or '.join(BaselineName)}; a DETR comes from ckpt_path=..."
        ) from error
    # An oracle is not tuned, so for all pairs no division is needed, and theirs may not have been made.
    whole = kind is BaselineName.oracle and settings.split == "all"
    light_compensation = bool(model.get("light_compensation"))
    data = _data(settings, names, trained, registration, light_compensation, whole)
    data.setup()
    data.require(settings.split)
    pairs = data.datasets[settings.split]
    if kind is BaselineName.oracle:
        _require_folder(Path(data.settings.root), model["places"])
        facts = {"baseline": str(kind), "places": model["places"]}
        return _oracle(model, pairs, data, settings), data, {"model": facts}, set()
    _require_numbers(model)
    source = "train" if len(data.datasets["train"]) else "val"
    data.require(source)
    if settings.split in ("all", source):
        log.warning("threshold_blobs is evaluated on pairs that it is tuned on; split=test is fair")
    tuned = tune(data.datasets[source], data.names, {key: model[key] for key in CHOICES}, model["pairs"])
    facts = {"baseline": str(kind), **asdict(tuned.blobs), "class": data.names[tuned.blobs.label]}
    del facts["label"]
    chosen = ", ".join(f"{key}={facts[key]:g}" for key in CHOICES)
    pairs_used = f"{len(tuned.pairs)} pairs of {source}"
    log.info("threshold_blobs: %s (AP50 of any class %.3f on %s)", chosen, tuned.map_50, pairs_used)
    return Baseline(data.names, tuned.blobs, tuned.threshold), data, {"model": facts}, set(tuned.pairs)


def _oracle(
    model: dict[str, Any], pairs: MovedObjectDataset, data: MovedObjectDataModule, settings: DictConfig
) -> Baseline:
    if model["places"] is None:
        places = changed_places(pairs.pairs)
    else:
        other = MovedObjectDataModule(
            **{**data.hparams, "labels": model["places"], "subset": None, "cache": "off"},
            names=data.names,
            processor=data.processor,
            comparison=data.comparison,
        )
        other.setup()
        places = labelled_places(pairs.pairs, other.datasets["all"].pairs, model["places"])
    return Baseline(data.names, Oracle(places, settings.seed), THRESHOLD)


def _require_folder(root: Path, places: object) -> None:
    if isinstance(places, bool):
        raise SettingError(f"model.places={places}: of an oracle it is a folder of labels in {root}")
    if places is not None and not (root / str(places)).is_dir():
        raise SettingError(f"model.places={places}: no such folder in {root}")


def _require_numbers(model: dict[str, Any]) -> None:
    for key in CHOICES:
        value, most = model[key], 255 if key == "difference" else 1
        if value is not None and not (isinstance(value, int | float) and 0 <= value <= most):
            kind = "grey levels" if key == "difference" else "a share"
            raise SettingError(f"model.{key}={value}: {kind} from 0 to {most}, or null to be tuned")
    if not isinstance(model["pairs"], int) or model["pairs"] < 1:
        raise SettingError(f"model.pairs={model['pairs']}: at least 1")


def _data(
    settings: DictConfig,
    names: list[str] | None,
    trained: dict[str, Any],
    registration: Registration,
    light_compensation: bool,
    whole: bool,
) -> MovedObjectDataModule:
    """Absolute differences of whole frames; split as in training, or as the settings say."""
    given = {key: value for key, value in plain(settings.data).items() if value is not None}
    own = given.pop("names", None)
    root = given.get("root", trained.get("root"))
    if root is None:
        raise SettingError("not given: data.root=..., or ckpt_path=... for the data of its training")
    root = Path(root).expanduser().absolute()
    names = class_names(root, own or read_description(root).names or names)
    comparison = Comparison(
        Diff.abs, Registration(given.pop("registration", registration)), light_compensation
    )
    given["root"] = str(root)
    fixed = {"augment": "none", "zoom": None, "max_objects": None}
    arguments = {"seed": settings.seed, **with_trained(given, trained), **fixed}
    if whole and not as_divided(arguments, trained):
        arguments |= UNDIVIDED
    return MovedObjectDataModule(
        **arguments,
        names=names,
        processor=unprocessed(),
        comparison=comparison,
    )
