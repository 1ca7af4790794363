import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import box_convert, masks_to_boxes

from detr_diff.choices import Augment
from detr_diff.data.augment import STRENGTHS, Sample, Strength, augment, clip, move, paste, reverse
from detr_diff.data.diff import abs_diff

WIDTH, HEIGHT = 80, 60
seeds = st.integers(0, 10_000)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels_of(boxes: Tensor) -> Tensor:
    return box_convert(boxes, "cxcywh", "xyxy") * torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])


def textured(seed: int) -> Tensor:
    return torch.randint(0, 256, (2, 3, HEIGHT, WIDTH), generator=generator(seed), dtype=torch.uint8)


def with_object(x: int, y: int, w: int, h: int) -> Sample:
    """A bright object that is in the after frame only."""
    frames = torch.zeros(2, 3, HEIGHT, WIDTH, dtype=torch.uint8)
    frames[1, :, y : y + h, x : x + w] = 200
    box = [(x + w / 2) / WIDTH, (y + h / 2) / HEIGHT, w / WIDTH, h / HEIGHT]
    return Sample(frames, torch.tensor([box]), torch.tensor([0]), torch.tensor([1]), torch.tensor([7]))


def sample_of(frames: Tensor, boxes: Tensor, class_labels: Tensor) -> Sample:
    """Its labels do not say places."""
    unknown = torch.full_like(class_labels, -1)
    return Sample(frames, boxes, class_labels, unknown, unknown)


boxes = st.tuples(
    st.integers(0, WIDTH - 20), st.integers(0, HEIGHT - 20), st.integers(8, 20), st.integers(8, 20)
)


@given(seeds, boxes, st.sampled_from([Augment.light, Augment.strong]))
def test_the_box_moves_with_the_pixels(seed: int, box: tuple[int, ...], level: Augment) -> None:
    """The box found in the moved picture is the moved box."""
    sample = move(with_object(*box), STRENGTHS[level], generator(seed))
    assert sample.frames.shape == (2, 3, HEIGHT, WIDTH)
    lit = sample.frames[1, 0] >= 100
    if not len(sample.boxes) or not lit.any():
        return
    found = masks_to_boxes(lit[None])[0] + torch.tensor([0.0, 0.0, 1.0, 1.0])
    torch.testing.assert_close(pixels_of(sample.boxes)[0], found, atol=1.6, rtol=0)


@given(seeds, st.lists(st.tuples(*[st.floats(0.05, 0.95)] * 2, *[st.floats(0.01, 0.9)] * 2), max_size=5))
def test_targets_stay_valid(seed: int, rows: list[tuple[float, ...]]) -> None:
    corners = box_convert(torch.tensor(rows).reshape(-1, 4), "cxcywh", "xyxy").clamp(0, 1)
    sample = sample_of(textured(seed), box_convert(corners, "xyxy", "cxcywh"), torch.arange(len(rows)))
    donor = Sample(textured(seed + 1), *with_object(20, 20, 10, 12)[1:])
    varied = augment(sample, STRENGTHS[Augment.strong], generator(seed), reversible=True, donor=lambda: donor)
    assert varied.frames.shape == sample.frames.shape
    assert varied.frames.dtype == torch.uint8
    assert len(varied.boxes) == len(varied.class_labels)
    moved = box_convert(varied.boxes, "cxcywh", "xyxy")
    assert ((moved >= -1e-6) & (moved <= 1 + 1e-6)).all()
    assert (varied.boxes[:, 2:] > 0).all()


@given(seeds)
def test_the_same_numbers_give_the_same_sample(seed: int) -> None:
    sample = Sample(textured(seed), *with_object(20, 20, 10, 12)[1:])
    first, again = (augment(sample, STRENGTHS[Augment.strong], generator(seed)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    augment(with_object(20, 20, 10, 12), STRENGTHS[Augment.strong], generator(0))
    assert torch.equal(torch.rand(4), expected)


@given(st.lists(st.tuples(*[st.floats(-1.0, 1.0)] * 2, *[st.floats(0.02, 1.0)] * 2), min_size=1, max_size=6))
def test_boxes_are_clipped_or_dropped_by_visible_area(rows: list[tuple[float, ...]]) -> None:
    corners = torch.tensor([(x, y, x + w, y + h) for x, y, w, h in rows])
    clipped, kept = clip(corners)
    for (x, y, w, h), own in zip(rows, kept.tolist(), strict=True):
        visible = max(0.0, min(x + w, 1) - max(x, 0)) * max(0.0, min(y + h, 1) - max(y, 0)) / (w * h)
        if abs(visible - 0.3) > 1e-4:
            assert own == (visible > 0.3)
    assert len(clipped) == int(kept.sum())


@pytest.mark.parametrize("strength", [Strength(reverse=1.0), Strength(same=1.0)])
def test_reversal_and_true_negatives(strength: Strength) -> None:
    frames = textured(1)
    sample = Sample(frames, *with_object(20, 20, 10, 12)[1:])
    varied = augment(sample, strength, generator(0), reversible=True)
    if strength.reverse:
        assert torch.equal(varied.frames, frames.flip(0))
        assert torch.equal(varied.boxes, sample.boxes)
        kept = augment(sample, strength, generator(0), reversible=False)
        assert torch.equal(kept.frames, frames)
    else:
        assert torch.equal(varied.frames[0], varied.frames[1])
        assert not len(varied.boxes)


def test_a_ready_diff_image_is_moved_only() -> None:
    image = Sample(textured(0)[:1], *with_object(20, 20, 10, 12)[1:])
    everything = Strength(flip=1.0, same=1.0, reverse=1.0, noise=9.0, light=0.5, jitter=1.0)
    varied = augment(image, everything, generator(0), reversible=True)
    assert torch.equal(varied.frames, image.frames.flip(-1))
    torch.testing.assert_close(varied.boxes[0, 0], 1 - image.boxes[0, 0])


@given(seeds, boxes)
def test_a_pasted_place_changes_as_it_did(seed: int, box: tuple[int, ...]) -> None:
    donor = with_object(*box)
    sample = sample_of(textured(seed), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    sample.frames[1] = sample.frames[0]  # nothing moved
    pasted = paste(sample, donor, generator(seed))
    assert torch.equal(pasted.boxes, donor.boxes)
    assert pasted.class_labels.tolist() == [0]
    x, y, w, h = box
    change = abs_diff(*pasted.frames)
    assert (change[:, y + 1 : y + h - 1, x + 1 : x + w - 1] >= 150).all()
    outside = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    outside[y : y + h, x : x + w] = False
    assert int(change[:, outside].max()) <= 1


@given(seeds)
def test_a_paste_covers_no_object(seed: int) -> None:
    sample, donor = with_object(20, 20, 10, 12), with_object(24, 24, 10, 12)
    assert paste(sample, donor, generator(seed)) == sample


def test_light_of_both_and_of_each_frame() -> None:
    frames = torch.full((2, 3, HEIGHT, WIDTH), 120, dtype=torch.uint8)
    sample = sample_of(frames, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    same = augment(sample, Strength(light=0.3), generator(0)).frames
    assert torch.equal(same[0], same[1])
    assert not torch.equal(same, frames)
    own = augment(sample, Strength(own_light=0.3), generator(0)).frames
    assert not torch.equal(own[0], own[1])
    noisy = augment(sample, Strength(noise=8.0), generator(1)).frames.float()
    assert 0 < float(noisy[0].std()) < 8.5
    assert not np.allclose(noisy[0], noisy[1])


@given(seeds)
def test_the_camera_jitters_by_a_pixel_at_most(seed: int) -> None:
    sample = with_object(30, 20, 12, 12)
    frames = augment(sample, Strength(jitter=1.0), generator(seed)).frames
    assert torch.equal(frames[0], sample.frames[0])
    found = masks_to_boxes((frames[1, 0] >= 100)[None])[0]
    assert (found - torch.tensor([30.0, 20.0, 41.0, 31.0])).abs().max() <= 1


@given(seeds, boxes)
def test_whole_pixels_move_as_by_interpolation(seed: int, box: tuple[int, ...]) -> None:
    """A shift without zoom takes another road to the same frames and boxes."""
    sample = Sample(textured(seed), *with_object(*box)[1:])
    shifted = move(sample, Strength(translate=0.2), generator(seed))
    interpolated = move(sample, Strength(translate=0.2, rotate=1e-9), generator(seed))
    assert int(abs_diff(shifted.frames, interpolated.frames).max()) <= 1
    torch.testing.assert_close(shifted.boxes, interpolated.boxes, atol=1e-5, rtol=0)


def placed(seed: int) -> Sample:
    """Four objects; the class of each is its number, so that it can be recognised."""
    corners = [[0.05, 0.1, 0.2, 0.3], [0.4, 0.5, 0.6, 0.8], [0.7, 0.1, 0.95, 0.4], [0.1, 0.7, 0.3, 0.95]]
    rows = box_convert(torch.tensor(corners), "xyxy", "cxcywh")
    numbers = torch.arange(4)
    return Sample(textured(seed), rows, numbers, torch.tensor([0, 1, -1, 0]), 10 + numbers)


def test_swapped_frames_swap_the_places() -> None:
    sample = reverse(placed(0))
    assert sample.places.tolist() == [1, 0, -1, 1]
    assert torch.equal(sample.frames, placed(0).frames.flip(0))
    assert torch.equal(reverse(sample).places, placed(0).places)


@given(seeds)
def test_places_stay_with_their_objects(seed: int) -> None:
    """Whatever is cropped, pasted or swapped: all known places are swapped, or none is."""
    donor = with_object(20, 20, 10, 12)._replace(class_labels=torch.tensor([9]))
    level = STRENGTHS[Augment.strong]
    sample = augment(placed(seed), level, generator(seed), reversible=True, donor=lambda: donor)
    assert len(sample.boxes) == len(sample.places) == len(sample.objects)
    truth = {**dict(enumerate(placed(seed).places.tolist())), 9: 1}
    seen = [
        (place != truth[label])
        for label, place in zip(sample.class_labels.tolist(), sample.places.tolist(), strict=True)
        if truth[label] >= 0
    ]
    assert len(set(seen)) <= 1
    # What was pasted has left its other place behind.
    for label, number in zip(sample.class_labels.tolist(), sample.objects.tolist(), strict=True):
        assert number == (-1 if label == 9 else 10 + label)
