"""model.places=true: what the data must say, and what the images must show."""

import logging
from collections.abc import Iterator

from detr_diff.data.datamodule import MovedObjectDataModule
from detr_diff.data.finding import Finding
from detr_diff.errors import UserError
from detr_diff.training.detector import Detector
from detr_diff.training.examinations.verdict import fault
from detr_diff.verbs.parts import symmetric_setting

log = logging.getLogger(__name__)


def require_places(detector: Detector, data: MovedObjectDataModule, *splits: str) -> None:
    """Refuse labels without places for a model that tells old places from new ones.

    Warns when the model sees the same picture whichever frame came first.

    Raises:
        UserError: The label of an object says no place, or a pair has one frame only.
    """
    if not detector.architecture.places:
        return
    for split in splits:
        pairs = data.datasets[split].pairs
        if (pair := pairs.without_place()) is not None:
            raise UserError(
                f"{pair.label}: an object without a place; the model has model.places=true, so each label "
                "line must end in before or after and the number of the object, as 0 0.5 0.5 0.1 0.2 before 3"
            )
        if (single := next((pair for pair in pairs.frame_pairs() if pair.before is None), None)) is not None:
            raise UserError(
                f"{single.after}: a ready diff image, but a model with model.places=true links old and new "
                "places by their looks in both frames"
            )
    if setting := symmetric_setting(detector):
        log.warning(
            "model.places=true: %s looks the same when the frames are swapped, so that old and new places "
            "cannot be told apart; use model.input=feature_diff, with any compare but abs",
            setting,
        )


def diagnose_places(detector: Detector) -> Iterator[Finding]:
    """A finding where old and new places look alike to the model."""
    if detector.architecture.places and (setting := symmetric_setting(detector)):
        yield fault(
            "places look alike",
            f"model.places=true, and {setting} looks the same when the frames are swapped",
            "old and new places cannot be told apart",
            "model.input=feature_diff, with any compare but abs",
        )


def advise_on_places(detector: Detector, data: MovedObjectDataModule) -> None:
    """Warn when the input makes it hard to learn what is labelled.

    Places are hardly learnt from pixels. And where old and new places are labelled alike, features with
    a sign make two different things of what is to be called the same.
    """
    places, features = detector.architecture.places, detector.architecture.feature_diff
    if features is not None and not places and data.datasets["train"].reversible:
        log.warning(
            "model.feature_diff.compare=%s tells old places from new ones, but both are labelled alike; "
            "compare=abs learns far sooner, or let the model say which is which with model.places=true, see "
            "experiments/image_diff_vs_feature_diff",
            features.compare,
        )
    if places and features is None:
        log.warning(
            "model.places=true: which frame an object is in is hardly learnt from pixels, and at once with "
            "model.input=feature_diff, see experiments/places"
        )
