"""Position encodings of the image's features: learned ones, and a factor for any."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

NAME = "position_embedding"  # what they are called in every family
SIZE = 50  # rows and columns of a learned table, as in DETR


class LearnedPositions(nn.Module):
    """A learned vector for each row and each column (Carion et al. 2020, arXiv:2005.12872).

    transformers' own fails on feature maps of more than 50 rows or columns, and RT-DETR has none.
    Here the table is stretched for them. Names are those of DETR, so that its tables fit.

    Args:
        features: Length of a position; half of it says the row, half the column.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.row_embeddings = nn.Embedding(SIZE, features // 2)
        self.column_embeddings = nn.Embedding(SIZE, features - features // 2)
        for table in (self.row_embeddings, self.column_embeddings):
            nn.init.uniform_(table.weight)

    def forward(self, shape: torch.Size, dtype: torch.dtype, **unused: Any) -> Tensor:
        """The positions [B, features, H, W] of features [B, C, H, W]."""
        height, width = shape[-2:]
        columns = _first(self.column_embeddings.weight, width)[:, None, :].expand(-1, height, -1)
        rows = _first(self.row_embeddings.weight, height)[:, :, None].expand(-1, -1, width)
        return torch.cat([columns, rows]).to(dtype).expand(shape[0], -1, -1, -1)


class LearnedSequence(LearnedPositions):
    """The same in the form in which RT-DETR's encoder asks for them."""

    def forward(self, width: int, height: int, dtype: torch.dtype, **unused: Any) -> Tensor:  # type: ignore[override]
        """The positions [1, H * W, features] of features [B, H * W, C]."""
        positions = super().forward(torch.Size((1, 1, height, width)), dtype)
        return positions.flatten(2).transpose(1, 2)


def _first(table: Tensor, count: int) -> Tensor:
    """The first rows of a table as columns [features, count]; of a short table all, stretched."""
    if count <= len(table):
        return table[:count].T
    stretched = interpolate(table.T[None], size=count, mode="linear", align_corners=True)
    return stretched[0]


def learn_positions(detr: Any) -> None:
    """Replace the position encodings of a model by learned ones."""
    for name, module in list(detr.named_modules()):
        parent_name, _, last = name.rpartition(".")
        if last == NAME:
            sequence = hasattr(module, "embed_dim")
            features = module.embed_dim if sequence else detr.config.d_model
            made = LearnedSequence(features) if sequence else LearnedPositions(features)
            setattr(detr.get_submodule(parent_name), NAME, made)


def scale_positions(detr: nn.Module, factor: float) -> None:
    """Multiply the position encodings of a model by a factor."""
    for name, module in detr.named_modules():
        if name.rpartition(".")[2] == NAME:
            module.register_forward_hook(partial(_scaled, factor))


def _scaled(factor: float, module: nn.Module, given: Any, positions: Tensor) -> Tensor:
    return positions * factor
