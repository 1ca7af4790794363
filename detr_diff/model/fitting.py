"""Fitting: a pretrained tensor for a place of another shape."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from detr_diff.choices import Channels


def fit_channels(kernel: Tensor, channels: int, how: Channels) -> Tensor:
    """The first convolution for another number of input channels, with its response preserved.

    With `repeat` the response to an image that is the source's image repeated is that of the
    source; with `mean` that to an image whose channels are all alike.

    Args:
        kernel: [O, I, h, w].
        channels: Input channels of the result.
        how: repeat or mean.

    Returns:
        [O, channels, h, w].
    """
    own = kernel.shape[1]
    if how is Channels.mean:
        return (kernel.mean(1, keepdim=True) * (own / channels)).expand(-1, channels, -1, -1).contiguous()
    if channels < own:
        # Source channels that fall on the same channel of the result see the same values.
        parts = [kernel[:, start::channels].sum(1) for start in range(channels)]
        return torch.stack(parts, 1)
    turns = torch.arange(channels) % own
    copies = turns.bincount(minlength=own)[turns]
    return kernel[:, turns] / copies.view(1, -1, 1, 1)


def fit_rows(table: Tensor, rows: int) -> Tensor:
    """The first rows of a table, or all of them again and again. [R, ...] to [rows, ...]."""
    return table[torch.arange(rows) % len(table)]


def common_part(source: Tensor, target: Tensor) -> Tensor:
    """The target with the part that both shapes have taken from the source."""
    part = tuple(slice(min(a, b)) for a, b in zip(source.shape, target.shape, strict=True))
    result = target.clone()
    result[part] = source[part]
    return result


def resampled(source: Tensor, shape: torch.Size) -> Tensor | None:
    """Kernels of another size, or a table of another number of positions, by interpolation.

    A kernel is scaled by the change of its area, so that its response keeps its size.

    Args:
        source: [O, I, h, w], or [positions, d].
        shape: Of the result.

    Returns:
        None where the shapes differ in anything else.
    """
    if source.ndim != len(shape):
        return None
    if source.ndim == 4 and source.shape[:2] == shape[:2]:
        area = source.shape[2] * source.shape[3] / (shape[2] * shape[3])
        return interpolate(source, size=tuple(shape[2:]), mode="bilinear", antialias=True) * area
    if source.ndim == 2 and source.shape[1] == shape[1]:
        return interpolate(source.T[None], size=shape[0], mode="linear", align_corners=True)[0].T.contiguous()
    return None


def is_transposed(source: torch.Size, target: torch.Size) -> bool:
    """Whether the two differ in the order of their first two dimensions alone."""
    return (
        len(source) == len(target) >= 2
        and source != target
        and source[0] == target[1]
        and source[1] == target[0]
        and source[2:] == target[2:]
    )
