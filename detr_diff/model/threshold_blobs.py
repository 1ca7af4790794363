"""What can be found without a network: difference, threshold, morphology, connected components."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import DetrImageProcessor

Amount = npt.NDArray[np.uint8]
MOST = 100  # blobs of an image, the strongest


class Blobs(NamedTuple):
    """Connected changed regions of an image, the strongest first.

    Attributes:
        boxes: float [B, 4], xyxy in pixels.
        areas: [B], share of the image's pixels that are in the region.
        strengths: [B], sum of the differences in the region over that of a wholly changed image.
        size: Height and width of the image in pixels.
    """

    boxes: npt.NDArray[np.float64]
    areas: npt.NDArray[np.float64]
    strengths: npt.NDArray[np.float64]
    size: tuple[int, int]

    def grown(self, margin: float) -> npt.NDArray[np.float64]:
        """The boxes with a margin, a share of the shorter side; not beyond the image."""
        height, width = self.size
        wider = self.boxes + np.array([-1.0, -1, 1, 1]) * margin * min(self.size)
        return wider.clip(0, [width, height, width, height])


def amount_of(image: Tensor) -> Amount:
    """The largest channel of an absolute difference, uint8 [3, H, W] to [H, W]."""
    return np.asarray(np.maximum.reduce(image.cpu().numpy()))


def find_blobs(amount: Amount, difference: float, opening: float, closing: float) -> Blobs:
    """Find the regions that changed, the MOST strongest.

    Args:
        amount: uint8 [H, W], see `amount_of`.
        difference: Grey levels from which on a pixel has changed.
        opening: Changes thinner than twice this are dropped; share of the shorter side.
        closing: Gaps smaller than twice this are closed; share of the shorter side.
    """
    changed = (amount >= difference).astype(np.uint8)
    for operation, share in ((cv2.MORPH_OPEN, opening), (cv2.MORPH_CLOSE, closing)):
        radius = round(share * min(amount.shape))
        if radius:
            square = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)  # three times as fast as a disc
            changed = cv2.morphologyEx(changed, operation, square).astype(np.uint8)
    number, regions, stats, _ = cv2.connectedComponentsWithStats(changed)
    inside = np.flatnonzero(changed)
    sums = np.bincount(regions.ravel()[inside], amount.ravel()[inside], number)[1:]
    kept = np.argsort(-sums, kind="stable")[:MOST]
    left, top, width, height, pixels = stats[1:][kept].T.astype(np.float64)
    return Blobs(
        np.stack([left, top, left + width, top + height], axis=1),
        pixels / amount.size,
        sums[kept] / (255.0 * amount.size),
        (amount.shape[0], amount.shape[1]),
    )


@dataclass(frozen=True)
class ThresholdBlobs:
    """A detector of a few numbers.

    Attributes:
        difference: See `find_blobs`.
        opening: See `find_blobs`.
        closing: See `find_blobs`.
        margin: Boxes are that much larger on each side than the region; share of the shorter side.
        smallest: Smaller regions are dropped; share of the image.
        half: Strength of a region whose score is 0.5; that of a typical object.
        label: The class that every region is given, as nothing tells one from another.
    """

    difference: float
    opening: float
    closing: float
    margin: float
    smallest: float
    half: float
    label: int

    def __call__(self, image: Tensor, _: Any = None) -> dict[str, Tensor]:
        """The prediction dict of a difference image, uint8 [3, H, W]."""
        blobs = find_blobs(amount_of(image), self.difference, self.opening, self.closing)
        scores = self.score(blobs.strengths)
        kept = np.flatnonzero(blobs.areas >= self.smallest)
        return {
            "boxes": torch.from_numpy(blobs.grown(self.margin)[kept]).float(),
            "scores": torch.from_numpy(scores[kept]).float(),
            "labels": torch.full((len(kept),), self.label),
        }

    def score(self, strengths: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """From 0 to 1, higher for stronger regions."""
        return strengths / (strengths + self.half)


def unprocessed() -> DetrImageProcessor:
    """An image processor that leaves the frames as they are."""
    return DetrImageProcessor(do_resize=False, do_rescale=False, do_normalize=False, do_pad=False)
