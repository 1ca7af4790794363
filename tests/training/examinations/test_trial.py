"""A trial leaves everything as it was, and counts memory right."""

import copy
import math
from pathlib import Path

import pytest
import torch

from detr_diff.data.batch import Samples, collate
from detr_diff.training.detector import Detector
from detr_diff.training.ema import WeightAverage
from detr_diff.training.examinations.cost import predict_memory
from detr_diff.training.examinations.input_images import measure_input
from detr_diff.training.examinations.memorising import memorise
from detr_diff.training.examinations.rate_range import STEPS, measure_rates
from detr_diff.training.examinations.trial import Trial
from detr_diff.training.run import load_detector
from detr_diff.training.stages import Stage


@pytest.fixture(scope="module")
def detector(run_dir: Path) -> Detector:
    return load_detector(run_dir / "checkpoints/best.ckpt")[0]


@pytest.fixture(scope="module")
def samples(data_root: Path, detector: Detector) -> Samples:
    from detr_diff.data.check import check
    from detr_diff.data.dataset import MovedObjectDataset
    from detr_diff.data.discovery import discover

    pairs = check(discover(data_root), detector.names).pairs
    dataset = MovedObjectDataset(pairs, detector.comparison, detector.processor)
    labelled = [index for index in range(len(pairs)) if len(pairs[index].labels)]
    return collate([dataset[index] for index in labelled[:6]])


def shares(rate: float = 1.0) -> dict[str, float]:
    return dict.fromkeys(Stage("all", 1).learn, rate)


def test_the_model_and_the_random_numbers_stay(detector: Detector, samples: Samples) -> None:
    before = {name: value.clone() for name, value in detector.detr.state_dict().items()}
    state = torch.get_rng_state()
    trial = Trial(detector, samples, shares(), 2)
    losses = trial.losses(lambda step: 1e-3, 5)
    assert len(losses) == 5
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in detector.detr.state_dict().items():
        assert torch.equal(value, before[name]), name
    # And each begins at the same start.
    assert trial.losses(lambda step: 1e-3, 5) == losses


def test_the_weights_that_learn_are_judged_and_not_their_average(
    samples: Samples, detector: Detector
) -> None:
    averaged = copy.deepcopy(detector)
    averaged.average = WeightAverage(averaged.detr, 0.999)
    trial = Trial(averaged, samples, shares(), 2)
    assert trial.detector.evaluated is trial.detector.detr
    assert averaged.evaluated is not averaged.detr


def test_frozen_blocks_stay_frozen(detector: Detector, samples: Samples) -> None:
    trial = Trial(detector, samples, {"class_head": 1.0}, 2)
    trial.losses(lambda step: 1e-2, 2)
    theirs = dict(trial.detector.detr.named_parameters())
    same = {n: torch.equal(p, theirs[n]) for n, p in detector.detr.named_parameters()}
    changed = {group.block for group in detector.rate_groups if not all(same[n] for n in group.names)}
    assert changed == {"class_head"}


def test_memory_of_a_larger_batch_is_foretold(detector: Detector, samples: Samples) -> None:
    trial = Trial(detector, samples, shares(), 2)
    kept = {number: trial.saved_bytes(list(range(number))) for number in (2, 4, 6)}
    foretold = 2 * kept[4] - kept[2]
    assert foretold == pytest.approx(kept[6], rel=0.15)
    weights = sum(p.numel() for p in detector.detr.parameters())
    assert predict_memory(trial, 6) == pytest.approx(foretold + 16 * weights, rel=0.02)
    heads = Trial(detector, samples, {"class_head": 1.0}, 2)
    assert heads.saved_bytes([0, 1]) < kept[2] / 2


def test_a_rate_that_is_far_too_high_shows(detector: Detector, samples: Samples) -> None:
    found = measure_rates(Trial(detector, samples, shares(), 2), planned=100.0)
    assert not found.falls
    assert len(found.rates) == len(found.losses) <= STEPS
    assert all(math.isfinite(loss) for loss in found.losses)


def test_learning_by_heart_ends_when_the_time_is_over(detector: Detector, samples: Samples) -> None:
    trial = Trial(detector, samples, shares(), 2)
    assert len(memorise(trial, 1e-3, 50, seconds=0.0).losses) == 1
    found = memorise(trial, 1e-3, 3, seconds=60)
    assert list(found.scores) == [3]
    assert found.pairs == 6


def test_the_cell_is_that_of_the_finest_map(detector: Detector, samples: Samples) -> None:
    sides = torch.full((3, 2), 16.0).numpy()
    batch = detector.transfer_batch_to_device(samples, torch.device("cpu"), 0)
    found = measure_input(detector.detr, detector.family, detector.processor, batch, sides)
    assert (found.height, found.width, found.cell) == (64, 64, 8)
    assert found.sides.tolist() == [16.0] * 3
    assert 0 <= found.low < found.high <= 1
