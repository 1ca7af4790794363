"""How the features of two frames become one feature map."""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from detr_diff.choices import Compare

HEADS = 4
WIDTH = 128  # of the attention
TEMPERATURE = 10_000.0


class FeatureComparison(nn.Module):
    """Before and after features [B, C, h, w] each to one map [B, C, h, w]; this one takes `after`.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, before: Tensor, after: Tensor, mask: Tensor) -> Tensor:
        """See the class; mask bool [B, h, w] is true where there is an image."""
        return after


class AbsoluteDifference(FeatureComparison):
    """|after - before|; the same when the frames are swapped."""

    def forward(self, before: Tensor, after: Tensor, mask: Tensor) -> Tensor:
        """See FeatureComparison."""
        return (after - before).abs()


class SignedDifference(FeatureComparison):
    """after - before."""

    def forward(self, before: Tensor, after: Tensor, mask: Tensor) -> Tensor:
        """See FeatureComparison."""
        return after - before


class Concatenation(FeatureComparison):
    """A 1x1 convolution over both; it starts as after - before (Daudt et al. 2018, arXiv:1810.08462)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.mix = nn.Conv2d(2 * channels, channels, kernel_size=1)
        with torch.no_grad():
            same = torch.eye(channels)[..., None, None]
            self.mix.weight.copy_(torch.cat([-same, same], dim=1))
            self.mix.bias.zero_()  # type: ignore[union-attr]

    def forward(self, before: Tensor, after: Tensor, mask: Tensor) -> Tensor:
        """See FeatureComparison."""
        mixed: Tensor = self.mix(torch.cat([before, after], dim=1))
        return mixed


class CrossAttention(FeatureComparison):
    """after - before, and what each place of `after` finds by attention in `before`.

    Places are known by sine positions. The last projection starts at zero, so that training
    begins at after - before.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.query = nn.Conv2d(channels, WIDTH, kernel_size=1)
        self.key = nn.Conv2d(channels, WIDTH, kernel_size=1)
        self.value = nn.Conv2d(channels, WIDTH, kernel_size=1)
        self.result = nn.Conv2d(WIDTH, channels, kernel_size=1)
        nn.init.zeros_(self.result.weight)
        nn.init.zeros_(self.result.bias)  # type: ignore[arg-type]

    def forward(self, before: Tensor, after: Tensor, mask: Tensor) -> Tensor:
        """See FeatureComparison."""
        height, width = after.shape[-2:]
        positions = sine_positions(height, width, after.device).to(after)
        query, key = self.query(after) + positions, self.key(before) + positions
        queries, keys, values = (
            part.flatten(2).unflatten(1, (HEADS, -1)).mT for part in (query, key, self.value(before))
        )
        found = scaled_dot_product_attention(queries, keys, values, attn_mask=mask.flatten(1)[:, None, None])
        found = found.mT.flatten(1, 2).unflatten(2, (height, width))
        compared: Tensor = after - before + self.result(found)
        return compared


def sine_positions(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Sines and cosines of y and x (Vaswani et al. 2017, arXiv:1706.03762), [WIDTH, height, width]."""
    count = WIDTH // 4
    rates = TEMPERATURE ** (-torch.arange(count, device=device) / count)
    places = (torch.arange(1.0, size + 1, device=device) for size in (height, width))
    y, x = (own[None] * rates[:, None] for own in places)
    rows = torch.cat([y.sin(), y.cos()])[:, :, None].expand(-1, -1, width)
    columns = torch.cat([x.sin(), x.cos()])[:, None].expand(-1, height, -1)
    return torch.cat([rows, columns])


COMPARISONS: dict[Compare, type[FeatureComparison]] = {
    Compare.abs: AbsoluteDifference,
    Compare.signed: SignedDifference,
    Compare.concat: Concatenation,
    Compare.cross_attention: CrossAttention,
}
