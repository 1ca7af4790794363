"""The loss of a batch, and its part of the loss of a whole optimizer step."""

from typing import NamedTuple

from torch import Tensor


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


class BatchLoss(NamedTuple):
    """The loss of a batch, summed up and not yet divided.

    An average of the losses of batches is not the loss of all their samples together: an object
    in a batch with few others would count more. The sums divided by what the whole optimizer step
    holds add up to the loss of one large batch.

    Attributes:
        per_object: The sum of what is divided by the number of objects, [].
        per_query: The sum of what is divided by the weights of the queries, [].
        own: The divisors of the batch itself.
        parts: Figures of the last decoder layer, divided by those of the batch.
    """

    per_object: Tensor
    per_query: Tensor | float
    own: Divisors
    parts: dict[str, Tensor]

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
