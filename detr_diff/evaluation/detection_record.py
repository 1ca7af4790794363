"""DetectionRecord, the metric that collects what all figures are made from."""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from detr_diff.evaluation.record import Record, ranges

log = logging.getLogger(__name__)
NO_NUMBERS = (
    "in %d of %d images the model predicts scores or boxes that are no numbers, which are left out: "
    "are its weights whole?"
)


class DetectionRecord(Metric):
    """Collects predictions and true boxes; several processes put theirs together.

    The result does not depend on how the images were dealt out: they are sorted by position, and
    an image that two processes were given counts once. A score below 0 says that there is no prediction.
    What is no number is left out, and said.

    Attributes:
        not_finite: In how many images something was left out, when it was last computed.
    """

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        floats, ints = torch.zeros(0), torch.zeros(0, dtype=torch.int64)
        self._empty = {
            "positions": ints,
            "counts": ints.reshape(0, 2),
            "boxes": floats.reshape(0, 4),
            "scores": floats,
            "labels": ints,
            "object_boxes": floats.reshape(0, 4),
            "object_labels": ints,
        }
        for name in self._empty:
            self.add_state(name, [], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        self.not_finite = 0
        # A process without images must gather tensors of the same kind as the others, not none.
        for name, empty in self._empty.items():
            setattr(self, name, [empty.to(self.device, non_blocking=True)])

    def update(
        self,
        predictions: Sequence[dict[str, Tensor]],
        truths: Sequence[dict[str, Tensor]],
        positions: Sequence[int] | Tensor,
    ) -> None:
        """Add images.

        Args:
            predictions: Prediction dicts: boxes [D, 4] xyxy in pixels, scores [D], labels [D].
            truths: boxes [G, 4] xyxy in pixels, labels [G].
            positions: Position of each image in the data set.
        """
        if not len(predictions) == len(truths) == len(positions):
            sizes = f"{len(predictions)} predictions, {len(truths)} truths, {len(positions)} positions"
            raise ValueError(f"{sizes}; there must be one of each for an image")
        counts = [
            (len(prediction["labels"]), len(truth["labels"]))
            for prediction, truth in zip(predictions, truths, strict=True)
        ]
        self._add("positions", [torch.as_tensor(positions)])
        self._add("counts", [torch.tensor(counts).reshape(-1, 2)])
        for key in ("boxes", "scores", "labels"):
            self._add(key, [prediction[key].detach() for prediction in predictions])
        for key in ("boxes", "labels"):
            self._add(f"object_{key}", [truth[key] for truth in truths])

    def _add(self, state: str, parts: Sequence[Tensor]) -> None:
        kind = self._empty[state]
        shaped = [part.to(kind.dtype).reshape(-1, *kind.shape[1:]) for part in parts]
        # Nothing waits for the device: what comes from the host is small.
        both = [part.to(self.device, non_blocking=True) for part in [kind, *shaped]]
        getattr(self, state).append(torch.cat(both))

    def compute(self) -> Record:
        """Everything added so far, by all processes."""
        columns = {name: dim_zero_cat(getattr(self, name)).cpu().numpy() for name in self._empty}
        images, chosen = np.unique(columns["positions"], return_index=True)
        starts = np.cumsum(columns["counts"], axis=0) - columns["counts"]
        starts, counts = starts[chosen], columns["counts"][chosen]
        image, object_image = (np.repeat(np.arange(len(images)), counts[:, kind]) for kind in (0, 1))
        rows, object_rows = (ranges(starts[:, kind], counts[:, kind]) for kind in (0, 1))
        shown = ~(columns["scores"][rows] < 0)
        numbers = np.isfinite(columns["scores"][rows]) & np.isfinite(columns["boxes"][rows]).all(axis=1)
        self.not_finite = len(np.unique(image[shown & ~numbers]))
        if self.not_finite:
            log.warning(NO_NUMBERS, self.not_finite, len(images))
        shown &= numbers
        rows, image = rows[shown], image[shown]
        rows = rows[np.lexsort((-columns["scores"][rows], image))]
        return Record(
            images,
            image,
            columns["boxes"][rows].astype(np.float64),
            columns["scores"][rows].astype(np.float64),
            columns["labels"][rows],
            object_image,
            columns["object_boxes"][object_rows].astype(np.float64),
            columns["object_labels"][object_rows],
        )
