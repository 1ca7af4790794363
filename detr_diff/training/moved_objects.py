"""What moved between two frames, for programs in Python."""

import logging
from pathlib import Path

import torch
from torch import Tensor

from detr_diff.choices import OnError
from detr_diff.data.batch import collate
from detr_diff.data.check import check
from detr_diff.data.dataset import MovedObjectDataset
from detr_diff.data.discovery import Discovery
from detr_diff.data.frame_pair import FramePair, FramePairs
from detr_diff.evaluation.overlays import above
from detr_diff.training.detector import Detector

log = logging.getLogger(__name__)


def moved_objects(
    detector: Detector, before: str | Path | None, after: str | Path, threshold: float | None = None
) -> dict[str, Tensor]:
    """What a detector finds in one pair, as `detr-diff predict` does; nothing is padded (`data.pad_to`).

    Args:
        detector: As `load_detector` gives it, on any device; it is put into evaluation mode.
        before: The earlier frame, a file; None: `after` is a ready diff image.
        after: The later frame, a file.
        threshold: The lowest score; None: the one chosen on validation.

    Returns:
        boxes [D, 4] xyxy in pixels of the frame, beyond which they may reach, scores [D], labels [D], best
        first; of a model that tells places apart also places [D], 0 old, 1 new.

    Raises:
        DataError: A frame cannot be read, or the two differ in size.
    """
    comparison = detector.comparison
    report = check(single_pair(before, after), detector.names, needs_frames=comparison.diff.needs_frames)
    pairs = report.accept("the pair", OnError.refuse)
    dataset = MovedObjectDataset(pairs, comparison, detector.processor)
    batch = detector.transfer_batch_to_device(collate([dataset[0]]), detector.device, 0)
    if not batch.targets[0].get("aligned", True):
        log.warning("%s: the frames could not be aligned and were compared as they are", after)
    with torch.inference_mode():
        (prediction,) = detector.eval().predict_step(batch, 0)
    return above(prediction, detector.threshold if threshold is None else threshold)


def single_pair(before: str | Path | None, after: str | Path) -> Discovery:
    """A pair of two files as if it had been found in a data set."""
    after = Path(after)
    name = after.stem.removesuffix("_after")
    return Discovery(
        FramePairs(Path(), [FramePair(name, None if before is None else Path(before), after, None)])
    )
