import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_convert

from detr_diff.data.augment import flip_and_shift

WIDTH, HEIGHT = 80, 60


@given(
    st.integers(0, 10_000),
    st.integers(0, WIDTH - 12),
    st.integers(0, HEIGHT - 12),
    st.integers(4, 12),
    st.integers(4, 12),
)
def test_the_box_moves_with_the_pixels(seed: int, x: int, y: int, w: int, h: int) -> None:
    frames = torch.zeros(6, HEIGHT, WIDTH, dtype=torch.uint8)
    frames[:, y : y + h, x : x + w] = 200
    boxes = torch.tensor([[(x + w / 2) / WIDTH, (y + h / 2) / HEIGHT, w / WIDTH, h / HEIGHT]])
    moved, kept_boxes, kept = flip_and_shift(frames, boxes, torch.Generator().manual_seed(seed))
    assert moved.shape == frames.shape
    if not kept[0]:
        return
    corners = box_convert(kept_boxes, "cxcywh", "xyxy")[0] * torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])
    x0, y0, x1, y1 = corners.round().int().tolist()
    assert (moved[:, y0:y1, x0:x1] == 200).all()
    at_border = x == 0 or y == 0 or x + w == WIDTH or y + h == HEIGHT
    if not at_border:  # there the border is repeated outwards
        assert int((moved[0] == 200).sum()) == (x1 - x0) * (y1 - y0)


@given(st.integers(0, 10_000), st.lists(st.tuples(*[st.floats(0.01, 0.99)] * 4), max_size=5))
def test_boxes_stay_valid(seed: int, rows: list[tuple[float, ...]]) -> None:
    boxes = torch.tensor(rows).reshape(-1, 4)
    generator = torch.Generator().manual_seed(seed)
    frames = torch.zeros(6, HEIGHT, WIDTH, dtype=torch.uint8)
    _, moved, kept = flip_and_shift(frames, boxes, generator)
    assert len(moved) == int(kept.sum())
    corners = box_convert(moved, "cxcywh", "xyxy")
    assert ((corners >= -1e-6) & (corners <= 1 + 1e-6)).all()
    assert (moved[:, 2:] > 0).all()
