"""What the evaluated pairs were in the training of the checkpoint."""

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

from detr_diff.data.datamodule import MovedObjectDataModule
from detr_diff.errors import UserError
from detr_diff.training.detector import Detector
from detr_diff.verbs.parts import same_folder

log = logging.getLogger(__name__)

# What divides the data; where all of it is as in training, it is known which pairs were learnt.
DIVISION = ("pairs", "labels", "scene", "split_by", "split_seed", "val", "test", "subset")
# A division that asks for nothing, for split=all.
UNDIVIDED = {"split_by": "pair", "val": 0.0, "test": 0.0}
KNOWN = {"train": "that the checkpoint has learnt", "val": "by which the checkpoint was chosen"}


def as_divided(arguments: Mapping[str, Any], trained: Mapping[str, Any]) -> bool:
    """Whether the same pairs of the same folder are divided in the same way."""
    return not _otherwise(arguments, trained) and same_folder(arguments["root"], trained.get("root"))


def parts_in_training(
    detector: Detector, data: MovedObjectDataModule, trained: Mapping[str, Any]
) -> dict[str, str] | None:
    """Name of each pair of the training to its part there: train, val or test.

    None where nobody knows: in another folder than that of the training, or where that can no longer be
    divided as it was then.
    """
    then = data
    if not as_divided(data.hparams, trained):
        if not same_folder(data.settings.root, trained["root"]):
            log.info("another folder than in training: which of these pairs were learnt is not known")
            return None
        log.info("as they were divided in training:")
        fixed = {"cache": "off", "max_objects": None}
        then = MovedObjectDataModule(
            names=detector.names,
            processor=detector.processor,
            comparison=detector.comparison,
            **{**trained, **fixed},
        )
        try:
            then.setup()
        except UserError as error:
            log.warning("which pairs were learnt is not known: %s", error)
            return None
    return {
        pair.name: part
        for part in ("train", "val", "test")
        for pair in then.datasets[part].pairs.frame_pairs()
    }


def warn_of_known(
    parts: Mapping[str, str], data: MovedObjectDataModule, trained: Mapping[str, Any], split: str
) -> None:
    """Say which pairs of a split make its figures better than those of new pairs, and what is fair."""
    own = [parts.get(pair.name) for pair in data.datasets[split].pairs.frame_pairs()]
    fair = "split=test is fair"
    if "test" not in parts.values():
        fair = "its training left no pairs for a fair test"
    elif split == "test":
        given = " ".join(f"data.{key}={data.hparams.get(key)}" for key in _otherwise(data.hparams, trained))
        fair = f"the division is not that of the training because of {given}"
    for part, what in KNOWN.items():
        if number := Counter(own)[part]:
            log.warning("%d of these %d pairs are those %s: %s", number, len(own), what, fair)


def _otherwise(arguments: Mapping[str, Any], trained: Mapping[str, Any]) -> list[str]:
    return [key for key in DIVISION if arguments.get(key) != trained.get(key)]
