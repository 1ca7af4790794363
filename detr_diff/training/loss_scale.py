"""The loss of a batch, its part of the loss of an optimizer step, and the loss of many batches."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from detr_diff.data.batch import Contents


class Divisors(NamedTuple):
    """What sums of losses are divided by.

    Attributes:
        objects: The number of objects, at least 1.
        queries: The weights of all queries in the class loss, where that is divided by them.
    """

    objects: float
    queries: float = 1.0

    @classmethod
    def of(cls, objects: int, queries: int, no_object_weight: float) -> "Divisors":
        """The divisors of some samples.

        Args:
            objects: Of all samples; each has a query, whose weight is 1.
            queries: Of all samples.
            no_object_weight: Weight of a query without object, where there is one.
        """
        weight = no_object_weight * queries + (1 - no_object_weight) * objects
        return cls(max(1.0, objects), weight)


class Part(NamedTuple):
    """A figure of the last decoder layer.

    Attributes:
        total: Of the batch, [].
        over: What it is divided by.
    """

    total: Tensor
    over: float

    @property
    def mean(self) -> Tensor:
        """The figure of the batch alone."""
        return self.total / max(1.0, self.over)


class BatchLoss(NamedTuple):
    """The loss of a batch, summed up and not yet divided.

    An average of the losses of batches is not the loss of all their samples together: an object
    in a batch with few others would count more. The sums divided by what the whole optimizer step
    holds add up to the loss of one large batch.

    Attributes:
        per_object: The sum of what is divided by the number of objects, [].
        per_query: The sum of what is divided by the weights of the queries, [].
        own: The divisors of the batch itself.
        parts: Figures of the last decoder layer.
    """

    per_object: Tensor
    per_query: Tensor | float
    own: Divisors
    parts: dict[str, Part]

    def divided(self, by: Divisors) -> Tensor:
        """The loss with these divisors, []."""
        return self.per_object / by.objects + self.per_query / by.queries

    def part(self, step: Divisors, samples: int) -> Tensor:
        """The summand of the batch in the loss of its optimizer step, [].

        Args:
            step: The divisors of the whole step, those of other processes included.
            samples: Of the batch; 0 where it is padding, which adds nothing.
        """
        return self.divided(step) * float(samples > 0)


class EpochLoss(Metric):
    """The loss of many batches, and its parts, as if they had been one: their size changes nothing."""

    per_object: Tensor
    per_query: Tensor
    objects: Tensor
    queries: Tensor

    def __init__(self) -> None:
        super().__init__()
        self._names: list[str] = []
        for name in ("per_object", "per_query", "objects", "queries"):
            self._sum(name)

    def update(self, loss: BatchLoss, counted: Contents) -> None:
        """Take a batch in.

        Args:
            loss: Of the batch.
            counted: What it holds; padding adds nothing.
        """
        # Also of padding: several processes must sum up the same figures, or they wait for each other.
        for name in sorted(loss.parts.keys() - set(self._names)):
            self._sum(f"{name}_total")
            self._sum(f"{name}_over")
        self._names = sorted({*self._names, *loss.parts})
        if not counted.samples:
            return
        self.per_object += loss.per_object.detach()
        self.per_query += torch.as_tensor(loss.per_query).detach()
        self.objects += counted.objects
        self.queries += loss.own.queries
        for name, part in loss.parts.items():
            getattr(self, f"{name}_total").add_(part.total)
            getattr(self, f"{name}_over").add_(part.over)

    def compute(self) -> dict[str, Tensor]:
        """The figures by their names; that of all is `loss`."""
        by_objects = self.per_object / self.objects.clamp(min=1)
        figures = {"loss": by_objects + self.per_query / self.queries.clamp(min=1)}
        for name in self._names:
            figures[name] = getattr(self, f"{name}_total") / getattr(self, f"{name}_over").clamp(min=1)
        return figures

    def _sum(self, name: str) -> None:
        self.add_state(name, torch.zeros((), device=self.device), "sum")
