from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from detr_diff.choices import Disturbance, Registration
from detr_diff.data.dataset import MovedObjectDataset
from detr_diff.data.diff import Comparison
from detr_diff.data.disturbance import Disturbing
from detr_diff.data.frame_pair import FramePair, FramePairs
from detr_diff.data.labelled_pairs import LabelColumns
from detr_diff.data.labels import Labels
from detr_diff.data.synthetic import Scene, SceneSettings
from detr_diff.errors import SettingError
from detr_diff.model.threshold_blobs import unprocessed

LEVELS = {
    Disturbance.shift: 5.0,
    Disturbance.rotation: 3.0,
    Disturbance.gain: 0.3,
    Disturbance.bias: 20.0,
    Disturbance.noise: 8.0,
    Disturbance.blur: 1.5,
    Disturbance.jpeg: 80.0,
    Disturbance.swap: 1.0,
}


def frame(seed: int = 0) -> torch.Tensor:
    """Smooth random colours, uint8 [3, 60, 80]."""
    coarse = np.random.default_rng(seed).uniform(60, 180, (8, 10, 3)).astype(np.float32)
    return torch.from_numpy(cv2.resize(coarse, (80, 60)).round().astype(np.uint8)).permute(2, 0, 1)


def dots(*places: tuple[int, int]) -> torch.Tensor:
    """Small bright discs at (x, y) on black, uint8 [3, 101, 101]."""
    picture = np.zeros((101, 101, 3), np.uint8)
    for place in places:
        cv2.circle(picture, place, 3, (250, 250, 250), -1)
    return torch.from_numpy(picture).permute(2, 0, 1)


def centre(picture: torch.Tensor) -> np.ndarray:
    weights = picture[0].double().numpy()
    return np.array([(weights.sum(1 - axis) * np.arange(101)).sum() / weights.sum() for axis in (1, 0)])


@pytest.mark.parametrize("kind", Disturbance)
@given(index=st.integers(0, 10_000), seed=st.integers(0, 100))
def test_it_is_a_function_of_seed_and_index_and_leaves_after_alone(
    kind: Disturbance, index: int, seed: int
) -> None:
    before, after = frame(1), frame(2)
    kept = before.clone(), after.clone()
    disturbing = Disturbing(kind, LEVELS[kind], seed)
    first, second = disturbing(index, before, after), disturbing(index, before, after)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], before if kind is Disturbance.swap else after)
    assert (first[0].shape, first[0].dtype) == (before.shape, torch.uint8)
    assert not torch.equal(first[0], before)
    assert torch.equal(before, kept[0])
    assert torch.equal(after, kept[1])
    nothing = Disturbing(kind, 0.0, seed)(index, before, after)
    assert nothing[0] is before
    assert nothing[1] is after


@given(st.integers(0, 1000), st.floats(1, 20))
def test_a_shift_is_as_long_as_it_says(index: int, level: float) -> None:
    moved, _ = Disturbing(Disturbance.shift, level, 0)(index, dots((50, 50)), dots((50, 50)))
    way = centre(moved) - 50
    assert np.linalg.norm(way) == pytest.approx(level, abs=0.2)
    further, _ = Disturbing(Disturbance.shift, level + 5, 0)(index, dots((50, 50)), dots((50, 50)))
    angle = np.arctan2(*way) - np.arctan2(*(centre(further) - 50))
    assert np.cos(angle) > 0.99  # of another level in the same direction


@given(st.integers(0, 1000), st.floats(0.5, 20))
def test_a_rotation_turns_about_the_centre(index: int, level: float) -> None:
    turned, _ = Disturbing(Disturbance.rotation, level, 0)(index, dots((80, 50)), dots())
    x, y = centre(turned) - 50
    assert np.hypot(x, y) == pytest.approx(30, abs=0.3)
    assert abs(np.degrees(np.arctan2(y, x))) == pytest.approx(level, abs=0.5)


def test_light_noise_and_compression_are_as_strong_as_they_say() -> None:
    before = frame()
    signs = set()
    for index in range(20):
        brighter, _ = Disturbing(Disturbance.gain, 0.25, 0)(index, before, before)
        ratio = float(brighter.double().mean() / before.double().mean())
        lifted, _ = Disturbing(Disturbance.bias, 20, 0)(index, before, before)
        change = (lifted.double() - before.double()).unique().tolist()
        signs.add((ratio > 1, *change))
        assert ratio == pytest.approx(1.25 if ratio > 1 else 0.8, abs=0.01)
    assert signs == {(True, 20.0), (False, -20.0)}
    noisy, _ = Disturbing(Disturbance.noise, 8, 0)(0, before, before)
    assert float((noisy.double() - before.double()).std()) == pytest.approx(8, abs=0.2)
    sharp = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (3, 60, 80), np.uint8))
    loss = [
        float((Disturbing(kind, level, 0)(0, sharp, sharp)[0].double() - sharp.double()).abs().mean())
        for kind, levels in ((Disturbance.jpeg, (5, 50, 95)), (Disturbance.blur, (0.4, 1, 3)))
        for level in levels
    ]
    assert loss[:3] == sorted(loss[:3])
    assert loss[3:] == sorted(loss[3:])
    blurred, _ = Disturbing(Disturbance.blur, 1, 0)(0, dots((50, 50)), dots())
    assert centre(blurred) == pytest.approx([50, 50], abs=0.01)


def test_a_share_of_the_pairs_is_swapped() -> None:
    before, after = frame(1), frame(2)
    swapped = [Disturbing(Disturbance.swap, 0.3, 0)(index, before, after)[0] is after for index in range(500)]
    assert np.mean(swapped) == pytest.approx(0.3, abs=0.06)
    more = [Disturbing(Disturbance.swap, 0.6, 0)(index, before, after)[0] is after for index in range(500)]
    assert all(later for first, later in zip(swapped, more, strict=True) if first)


@pytest.mark.parametrize("kind", [Disturbance.shift, Disturbance.rotation])
def test_the_frames_are_disturbed_before_they_are_aligned(kind: Disturbance, tmp_path: Path) -> None:
    pair = Scene(0, SceneSettings(width=160, height=128, shake=0, noise=1)).pair(0)
    for name, picture in (("before", pair.before), ("after", pair.after)):
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    found = FramePair("a", tmp_path / "before.png", tmp_path / "after.png", None)
    columns = LabelColumns(FramePairs(tmp_path, [found]))
    columns.append(Labels(np.zeros(0, np.int64), np.zeros((0, 4), np.float32)), (128, 160))
    light = {}
    for method in (Registration.none, Registration.phase):
        dataset = MovedObjectDataset(columns.finish(), Comparison(registration=method), unprocessed())
        still = float(dataset.image(0).double().mean())
        dataset.disturbing = Disturbing(kind, 4.0, 0)
        light[method] = float(dataset.image(0).double().mean()) / still
    assert light[Registration.none] > 1.5
    assert light[Registration.phase] < 0.6 * light[Registration.none]


@pytest.mark.parametrize(
    ("kind", "level", "limit"),
    [
        (Disturbance.shift, -1.0, "disturbances.shift=-1: a number from 0 on"),
        (Disturbance.noise, float("nan"), "disturbances.noise=nan: a number from 0 on"),
        (Disturbance.blur, float("inf"), "disturbances.blur=inf: a number from 0 on"),
        (Disturbance.jpeg, 100.0, "disturbances.jpeg=100: a number from 0 to 99"),
        (Disturbance.swap, 1.5, "disturbances.swap=1.5: a number from 0 to 1"),
    ],
)
def test_a_level_that_makes_no_sense_is_refused(kind: Disturbance, level: float, limit: str) -> None:
    with pytest.raises(SettingError, match=limit):
        Disturbing(kind, level, 0)
