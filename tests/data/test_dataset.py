import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import DetrImageProcessor, RTDetrImageProcessor

from detr_diff.choices import Augment, Diff, Registration
from detr_diff.data.augment import STRENGTHS, Sample
from detr_diff.data.check import check
from detr_diff.data.dataset import MovedObjectDataset
from detr_diff.data.description import read_description
from detr_diff.data.diff import Comparison, diff_image
from detr_diff.data.discovery import discover
from detr_diff.data.image import read_image
from detr_diff.data.labelled_pairs import LabelledPairs
from detr_diff.data.sampler import EpochBatches, SampleKey, Shuffled
from detr_diff.errors import UserError

PLAIN = RTDetrImageProcessor(size={"height": 64, "width": 64})


@pytest.fixture(scope="module")
def pairs(data_root: Path) -> LabelledPairs:
    return check(discover(data_root), read_description(data_root).names).pairs


@pytest.mark.parametrize("diff", list(Diff))
def test_a_sample_is_the_diff_and_the_labels(pairs: LabelledPairs, diff: Diff) -> None:
    image, target = MovedObjectDataset(pairs, Comparison(diff), PLAIN)[3]
    pair = pairs[3].pair
    assert pair.before is not None
    expected = diff_image(read_image(pair.before), read_image(pair.after), diff)
    assert torch.equal(image, expected)
    rows = [line.split() for line in pair.label.read_text().splitlines()]  # type: ignore[union-attr]
    assert target["class_labels"].tolist() == [int(row[0]) for row in rows]
    assert target["class_labels"].dtype == torch.int64
    expected_boxes = torch.tensor([[float(v) for v in row[1:5]] for row in rows]).reshape(-1, 4)
    torch.testing.assert_close(target["boxes"], expected_boxes)
    assert target["size"].tolist() == [64, 64]
    assert target["index"].tolist() == [3]


@pytest.mark.parametrize("diff", list(Diff))
def test_what_changed_can_be_looked_at(pairs: LabelledPairs, diff: Diff) -> None:
    before, after, picture = MovedObjectDataset(pairs, Comparison(diff), PLAIN).frames(3)
    pair = pairs[3].pair
    assert before is not None
    assert after is not None
    assert pair.before is not None
    assert torch.equal(before, read_image(pair.before))
    assert torch.equal(after, read_image(pair.after))
    shown = diff if diff in (Diff.tolerant, Diff.signed) else Diff.abs  # of several pictures the difference
    assert torch.equal(picture, diff_image(before, after, shown))


@pytest.mark.parametrize(("edge", "kept"), [(96, 64), (64, 64), (48, 48)])
def test_frames_are_shrunk_to_the_size_of_the_input_and_never_enlarged(
    pairs: LabelledPairs, edge: int, kept: int
) -> None:
    processor = DetrImageProcessor(size={"shortest_edge": edge, "longest_edge": 200})
    dataset = MovedObjectDataset(pairs, Comparison(), processor)
    assert dataset[0][0].shape == (3, kept, kept)
    assert dataset.sizes() == {(edge, edge)}


@pytest.mark.parametrize("strength", [Augment.none, Augment.strong])
def test_a_place_names_the_frame_that_shows_the_object(pairs: LabelledPairs, strength: Augment) -> None:
    """An object has edges, the ground behind it has few; also when frames are swapped and mirrored."""
    dataset = MovedObjectDataset(pairs, Comparison(Diff.frames), PLAIN, STRENGTHS[strength], reversible=True)
    right = []
    for image, target in (dataset[SampleKey(epoch, row)] for row in range(len(dataset)) for epoch in (0, 1)):
        edges = [np.hypot(*np.gradient(frame.float().mean(0).numpy())) for frame in image.split(3)]
        for (x, y, w, h), place in zip((64 * target["boxes"]).tolist(), target["places"], strict=True):
            rows = slice(max(0, int(y - h / 2) - 1), int(y + h / 2) + 2)
            columns = slice(max(0, int(x - w / 2) - 1), int(x + w / 2) + 2)
            before, after = (frame[rows, columns].mean() for frame in edges)
            right.append((after > before) == bool(place))
    assert len(right) > 100
    assert np.mean(right) > 0.9


def test_augmentation_is_a_function_of_seed_epoch_and_position(pairs: LabelledPairs) -> None:
    def sample(seed: int, epoch: int) -> torch.Tensor:
        return MovedObjectDataset(pairs, Comparison(), PLAIN, STRENGTHS[Augment.strong], seed=seed)[
            SampleKey(epoch, 3)
        ][0]

    assert torch.equal(sample(0, 1), sample(0, 1))
    assert not torch.equal(sample(0, 1), sample(0, 2))
    assert not torch.equal(sample(0, 1), sample(1, 1))


def test_a_ready_diff_image_is_taken_as_it_is(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    Image.fromarray(pixels).save(tmp_path / "images/a.png")
    (tmp_path / "labels/a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    pairs = check(discover(tmp_path), ["thing"]).pairs
    image = MovedObjectDataset(pairs, Comparison(), PLAIN).image(0)
    np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), pixels)


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[SampleKey]:
        return [key for batch in EpochBatches(Shuffled(20, seed), 8, epoch=lambda: epoch) for key in batch]

    assert order(0, 0) == order(0, 0)
    assert sorted(key.position for key in order(0, 3)) == list(range(20))
    assert {key.epoch for key in order(0, 3)} == {3}
    assert [k.position for k in order(0, 0)] != [k.position for k in order(0, 1)]
    assert [k.position for k in order(0, 0)] != [k.position for k in order(1, 0)]


def test_one_bit_and_grey_images_become_rgb(tmp_path: Path) -> None:
    Image.fromarray(np.eye(8) > 0).save(tmp_path / "bit.png")
    image = read_image(tmp_path / "bit.png")
    assert image.shape == (3, 8, 8)
    assert image.unique().tolist() == [0, 255]


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[0.5, 0.5, 0.1, float("nan")]], "a: box [0.5, 0.5, 0.1, nan] (cx, cy, w, h): numbers from 0 to 1"),
        ([[0.5, 0.5, 0.1, 0.1], [50.0, 40.0, 10.0, 10.0]], "a: box [50.0, 40.0, 10.0, 10.0]"),
        ([[0.5, 0.5, 0.0, 0.1]], "w and h above 0"),
        ([[0.5, 0.5, 0.1, 0.1]] * 3, "a: 3 objects, but only 2 queries"),
    ],
)
def test_targets_are_looked_at_before_the_loss(
    boxes: list[list[float]], message: str, tmp_path: Path
) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "images/a.png")
    (tmp_path / "labels/a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    pairs = check(discover(tmp_path), ["thing"]).pairs
    dataset = MovedObjectDataset(pairs, Comparison(), PLAIN, max_objects=2)
    assert len(dataset[0][1]["boxes"]) == 1
    zeros = torch.zeros(len(boxes), dtype=torch.int64)
    sample = Sample(torch.zeros(1, 3, 20, 30), torch.tensor(boxes), zeros, zeros, zeros)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(dataset, "_sample", lambda *_: sample)
        with pytest.raises(UserError, match=re.escape(message)):
            dataset[0]


@pytest.mark.parametrize("registration", [Registration.none, Registration.phase])
def test_a_large_jpeg_is_decoded_at_a_part_of_its_size(registration: Registration, tmp_path: Path) -> None:
    """Close to the whole image resized, at least as large as what is wanted, and in its exact size."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    rng = np.random.default_rng(0)
    for role in ("before", "after"):
        small = Image.fromarray(rng.integers(0, 255, (7, 13, 3), np.uint8))
        small.resize((401, 219)).save(tmp_path / f"images/a_{role}.jpg", quality=95)
    (tmp_path / "labels/a.txt").write_text("")
    processor = DetrImageProcessor(size={"shortest_edge": 50, "longest_edge": 200})
    pairs = check(discover(tmp_path), ["thing"]).pairs
    dataset = MovedObjectDataset(pairs, Comparison(Diff.frames, registration), processor)
    asked: list[int] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            "detr_diff.data.dataset.read_image",
            lambda path, reduction: asked.append(reduction) or read_image(path, reduction),
        )
        found = dataset.prepare(0).pixels
    assert asked == [1 if registration is Registration.phase else 4] * 2
    assert read_image(tmp_path / "images/a_after.jpg", 4).shape == (3, 55, 101)
    whole = processor.resize(read_image(tmp_path / "images/a_after.jpg")[None], size=processor.size)
    assert found[1:].shape == whole.shape == (1, 3, 50, 91)
    assert (found[1:].float() - whole.float()).abs().mean() < 4


def test_a_png_is_never_reduced(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.jpg", format="png")
    assert read_image(tmp_path / "a.jpg", 2).shape == (3, 20, 30)
