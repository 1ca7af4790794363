"""TEMPORARY stand-in of the lead, to be overwritten by helper 3's file."""

from torch import Tensor

from detr_diff.choices import Registration


def align(before: Tensor, after: Tensor, method: Registration) -> tuple[Tensor, bool]:
    """Nothing yet."""
    return before, True
