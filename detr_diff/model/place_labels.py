"""Classes that come twice: once for the old place of an object, once for the new one.

The class head of a model that tells places apart has a row for each place and class, first those of
all old places (before), then those of all new ones (after). So loss, matcher and image processor of
every family stay what they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from detr_diff.choices import PLACES


def row_names(names: Sequence[str]) -> list[str]:
    """Names of the rows of the class head: person before, car before, person after, car after."""
    return [f"{name} {place}" for place in PLACES for name in names]


def class_names(rows: Sequence[str]) -> list[str]:
    """The class names that `row_names` made the rows of."""
    return [name.removesuffix(f" {PLACES[0]}") for name in rows[: len(rows) // len(PLACES)]]


@dataclass(frozen=True)
class PlaceLabels:
    """Translates between (class, place) and the label that the model knows.

    Attributes:
        num_classes: Number of classes, each counted once.
    """

    num_classes: int

    def join(self, class_labels: Tensor, places: Tensor) -> Tensor:
        """Labels of the model, int64 [N], of classes and places, int64 [N] each.

        Raises:
            ValueError: On a CPU, a place is unknown; the loss would take its label without a word. A GPU
                is not asked, it would have to be waited for. Whoever trains has looked at the labels.
        """
        if places.device.type == "cpu" and bool(((places < 0) | (places >= len(PLACES))).any()):
            raise ValueError(f"places must be 0 (before) or 1 (after), got {places.tolist()}")
        return places * self.num_classes + class_labels

    def split(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Classes and places, int64 [N] each, of labels of the model."""
        return labels % self.num_classes, labels.div(self.num_classes, rounding_mode="floor")

    def fold(self, prediction: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A prediction dict of the model as one of classes and places.

        Where scores are sigmoids, a query may name both places of a class. The better one stays:
        the other would be a second box of the same class in the same place.

        Args:
            prediction: boxes [D, 4], scores [D] in descending order, labels [D] of the model.

        Returns:
            boxes [E, 4], scores [E], labels [E] of classes, places [E].
        """
        labels, places = self.split(prediction["labels"])
        boxes = prediction["boxes"]
        same = (boxes[:, None] == boxes[None]).all(-1) & (labels[:, None] == labels[None])
        kept = ~torch.tril(same, diagonal=-1).any(1)
        return {key: value[kept] for key, value in {**prediction, "labels": labels, "places": places}.items()}
