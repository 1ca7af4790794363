import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detr_diff.model.threshold_blobs import MOST, ThresholdBlobs, amount_of, find_blobs, unprocessed


def picture(*boxes: tuple[int, int, int, int], level: int = 100) -> torch.Tensor:
    """Rectangles x0 y0 x1 y1 in one channel of 60 by 80 pixels."""
    image = torch.zeros(3, 60, 80, dtype=torch.uint8)
    for x0, y0, x1, y1 in boxes:
        image[1, y0:y1, x0:x1] = level
    return image


@given(st.integers(0, 60), st.integers(0, 40), st.integers(1, 20), st.integers(1, 20), st.integers(20, 255))
def test_a_region_is_found_where_it_is(x: int, y: int, width: int, height: int, level: int) -> None:
    amount = amount_of(picture((x, y, x + width, y + height), level=level))
    blobs = find_blobs(amount, 20, 0, 0)
    assert blobs.boxes.tolist() == [[x, y, x + width, y + height]]
    assert blobs.areas[0] == pytest.approx(width * height / 4800)
    assert blobs.strengths[0] == pytest.approx(level / 255 * width * height / 4800)
    assert not len(find_blobs(amount, level + 1, 0, 0).areas)


def test_thin_lines_are_dropped_and_gaps_are_closed() -> None:
    image = picture((10, 10, 20, 30), (22, 10, 32, 30), (0, 50, 80, 51))
    assert len(find_blobs(amount_of(image), 50, 0, 0).areas) == 3
    assert len(find_blobs(amount_of(image), 50, 1 / 60, 0).areas) == 2
    (box,) = find_blobs(amount_of(image), 50, 1 / 60, 2 / 60).boxes
    assert box.tolist() == [10, 10, 32, 30]


def test_the_strongest_regions_come_first() -> None:
    image = picture((5, 5, 15, 15), (30, 5, 45, 20), (60, 5, 62, 7))
    find = ThresholdBlobs(50, 0, 0, margin=0, smallest=10 / 4800, half=0.01, label=2)
    found = find(image)
    assert found["boxes"].tolist() == [[30, 5, 45, 20], [5, 5, 15, 15]]
    assert found["labels"].tolist() == [2, 2]
    assert (found["scores"] > 0).all()
    assert (found["scores"].diff() < 0).all()
    assert (found["scores"] < 1).all()
    assert find.score(np.array([0.01])) == pytest.approx(0.5)
    wider = ThresholdBlobs(50, 0, 0, margin=6 / 60, smallest=10 / 4800, half=0.01, label=2)(image)
    assert wider["boxes"].tolist() == [[24, 0, 51, 26], [0, 0, 21, 21]]
    nothing = find(torch.zeros_like(image))
    assert [tuple(nothing[key].shape) for key in ("boxes", "scores", "labels")] == [(0, 4), (0,), (0,)]
    dots = torch.zeros(3, 60, 80, dtype=torch.uint8)
    dots[:, ::4, ::4] = 255
    assert len(ThresholdBlobs(50, 0, 0, 0, 0, 1, 0)(dots)["scores"]) == MOST


def test_frames_are_left_as_they_are() -> None:
    own = unprocessed()
    image = picture((5, 5, 15, 15))
    sizes = (own.do_rescale, own.rescale_factor, own.do_normalize, own.image_mean, own.image_std)
    assert torch.equal(own.rescale_and_normalize(image[None], *sizes)[0], image)
    assert not own.do_resize
