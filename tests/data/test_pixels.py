import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import DetrImageProcessor, RTDetrImageProcessor

from detr_diff.data.batch import Packed, Samples, Target, collate
from detr_diff.data.loading import build_loader
from detr_diff.data.pixels import batched
from detr_diff.data.resizing import input_size

FIXED = RTDetrImageProcessor(size={"height": 40, "width": 30}, do_normalize=True)
PROPORTIONAL = DetrImageProcessor(size={"shortest_edge": 36, "longest_edge": 60})


def sample(height: int, width: int, channels: int = 3, seed: int = 0) -> tuple[Tensor, Target]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (channels, height, width), generator=generator, dtype=torch.uint8)
    return image, {"size": torch.tensor([height, width])}


@pytest.mark.parametrize("processor", [FIXED, PROPORTIONAL], ids=["fixed", "proportional"])
@pytest.mark.parametrize("channels", [3, 6, 9])
@settings(max_examples=15, deadline=None)
@given(
    frames=st.lists(st.tuples(st.integers(8, 70), st.integers(8, 70)), min_size=1, max_size=3),
    multiple=st.sampled_from([1, 32]),
)
def test_a_batch_is_what_the_processor_makes(
    processor: DetrImageProcessor, channels: int, frames: list[tuple[int, int]], multiple: int
) -> None:
    samples = [sample(*frame, channels, seed) for seed, frame in enumerate(frames)]
    batch = batched(collate(samples, multiple), processor)
    wholes = [
        processor(list(image.unflatten(0, (-1, 3))), do_pad=False, return_tensors="pt")["pixel_values"]
        for image, _ in samples
    ]
    sizes = [tuple(whole.shape[-2:]) for whole in wholes]
    assert sizes == [input_size(processor, *frame) for frame in frames]
    assert list(batch.images.shape[-2:]) == [
        multiple * math.ceil(max(side) / multiple) for side in zip(*sizes, strict=True)
    ]
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    size = tuple(batch.images.shape[-2:])
    assert (batch.masks is None) is (set(sizes) == {size})
    masks = torch.ones(len(sizes), *size, dtype=torch.bool) if batch.masks is None else batch.masks
    assert masks.dtype == torch.bool
    for padded, mask, whole, (height, width) in zip(batch.images, masks, wholes, sizes, strict=True):
        torch.testing.assert_close(padded[:, :height, :width], whole.flatten(0, 1))
        assert mask[:height, :width].all()
        assert int(mask.sum()) == height * width
        assert not padded[:, ~mask].any()


def test_collating_copies_no_pixel() -> None:
    samples = [sample(20, 30), sample(10, 10)]
    collated = collate(samples)
    assert [image.data_ptr() for image in collated.images] == [image.data_ptr() for image, _ in samples]


@pytest.mark.parametrize("processor", [FIXED, PROPORTIONAL], ids=["fixed", "proportional"])
@pytest.mark.parametrize("frames", [[(50, 40)] * 3, [(20, 30)] * 3, [(20, 30), (24, 30)]])
def test_a_batch_of_a_worker_is_that_of_the_main_process(
    processor: DetrImageProcessor, frames: list[tuple[int, int]]
) -> None:
    samples = [sample(*frame, 6, seed) for seed, frame in enumerate(frames)]
    (loaded,) = build_loader(samples, 1, batch_size=3, collate_fn=collate)
    assert isinstance(loaded.images, Tensor) == (len(set(frames)) == 1)
    own, theirs = batched(collate(samples), processor), batched(loaded, processor)
    assert torch.equal(own.images, theirs.images)
    assert theirs.images.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(a["size"], b["size"]) for a, b in zip(own.targets, theirs.targets, strict=True))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5))
def test_what_is_packed_comes_out(counts: list[int]) -> None:
    targets = [
        {"boxes": torch.rand(count, 4), "class_labels": torch.arange(count), "size": torch.tensor([3, count])}
        for count in counts
    ]
    for found, target in zip(Packed.of(targets).targets(), targets, strict=True):
        assert found.keys() == target.keys()
        assert all(torch.equal(found[key], value) for key, value in target.items())


def test_the_part_of_a_batch_that_is_picture_is_known() -> None:
    target = {"size": torch.tensor([48, 60]), "boxes": torch.zeros(0, 4)}
    processor = DetrImageProcessor(do_resize=False)
    image = torch.zeros(3, 48, 60, dtype=torch.uint8)
    assert batched(Samples([image], Packed.of([target])), processor).shares is None
    padded = batched(Samples([image], Packed.of([target]), multiple=64), processor)
    assert padded.shares is not None
    assert padded.shares.tolist() == [[0.75, 0.9375]]
