"""What the planned training costs: memory, hours, and who waits for whom."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import psutil
import torch

from detr_diff.data.dataset import MovedObjectDataset
from detr_diff.data.finding import Finding, Level
from detr_diff.data.sampler import SampleKey
from detr_diff.training.examinations.schedule import Plan
from detr_diff.training.examinations.trial import Trial

OPTIMIZED, FROZEN = 16, 4  # bytes of a float32 weight: itself, its gradient and the two of AdamW; itself
CUDA_CONTEXT = 600e6  # bytes
FITS = 0.9  # of what is free
LONG = 24 * 7.0  # hours
LONG_ENOUGH = 8.0  # seconds of measuring
WAITING = 2.0  # loading takes so many times a step
NEGLIGIBLE = 0.5  # hours that may be lost by waiting


@dataclass(frozen=True)
class Cost:
    """What was measured and what follows from it.

    Attributes:
        device: Where it was measured.
        step: Seconds of forward pass, backward pass and optimizer for one pair.
        load: Seconds of one process to load one training pair.
        workers: Processes that load; 0: the main process, which does not learn meanwhile.
        cached: Whether frames are kept, so that later epochs load faster.
        batch_size: Pairs in the largest batch.
        memory: Bytes that a batch of that size needs.
        free: Bytes that are there.
        hours: Of the whole training.
        waiting: Hours of it in which the model waits for the data.
    """

    device: str
    step: float
    load: float
    workers: int
    cached: bool
    batch_size: int
    memory: float
    free: float
    hours: float
    waiting: float


def seconds_of(work: Callable[[int], object], times: int) -> float:
    """The median of several runs, the first not counted; of fewer where one takes long."""
    found: list[float] = []
    for number in range(times + 1):
        if sum(found) > LONG_ENOUGH:
            break
        start = perf_counter()
        work(number)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        found.append(perf_counter() - start)
    return median(found[1:] or found)


def measure_step(trial: Trial) -> float:
    """Seconds of a step for one pair; at a rate of 0, so that nothing is learnt."""
    trial.restart()
    return seconds_of(lambda number: trial.step(0.0, number), 3) / trial.size


def measure_loading(dataset: MovedObjectDataset, pairs: int = 6) -> float:
    """Seconds to load a pair as training does."""
    number = min(pairs, len(dataset) - 1)
    spread = [len(dataset) * index // (number + 1) for index in range(number + 1)]
    return seconds_of(lambda index: dataset[SampleKey(0, spread[index])], number) if number else 0.0


def predict_memory(trial: Trial, batch_size: int) -> float:
    """Bytes that training needs with so many pairs in a batch.

    Weights, gradients and optimizer are counted; what the forward pass keeps is measured with two and
    with four pairs, and grows with the pairs.
    """
    count = len(trial.batch.images)
    two, four = (trial.saved_bytes([index % count for index in range(number)]) for number in (2, 4))
    kept = two + (batch_size - 2) * max(four - two, 0) / 2
    parameters = list(trial.detector.detr.parameters())
    weights = sum(p.numel() * (OPTIMIZED if p.requires_grad else FROZEN) for p in parameters)
    return weights + kept + (CUDA_CONTEXT if trial.device.type == "cuda" else 0)


def free_memory(device: torch.device) -> float:
    """Bytes that are free on a device."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return float(psutil.virtual_memory().available)


def predict_hours(plan: Plan, step: float, load: float, workers: int, val_pairs: int) -> tuple[float, float]:
    """Hours of the planned training, and those of them in which the model waits for the data.

    Frozen blocks are counted as if they ran in every epoch, and a validation after each.
    """
    seconds = waiting = 0.0
    ahead = load / workers if workers else 0.0
    for epochs, stage in zip(plan.epochs(), plan.stages.stages, strict=True):
        size = stage.batch_size or plan.batch_size
        pairs = min(plan.pairs / plan.devices, plan.batches(stage) * size)
        for number, cost in ((pairs, step), (val_pairs, step / 3)):
            late = max(0.0, ahead - cost) if workers else load
            seconds += epochs * number * (cost + late)
            waiting += epochs * number * late
    return seconds / 3600, waiting / 3600


def diagnose_cost(cost: Cost) -> Iterator[Finding]:
    """Whether memory and time are enough."""
    gigabytes = (
        f"{cost.memory / 1e9:.1f} GB of memory, and {cost.free / 1e9:.1f} GB are free on {cost.device}"
    )
    if cost.memory > FITS * cost.free:
        per_pair = cost.memory / cost.batch_size
        fitting = max(1, math.floor(FITS * cost.free / per_pair))
        yield Finding(
            Level.problem,
            "not enough memory",
            f"a batch of {cost.batch_size} pairs needs about {gigabytes}",
            "the training is killed, or stops with out of memory",
            f"data.batch_size={fitting} and {math.ceil(cost.batch_size / fitting)} times the "
            "trainer.accumulate_grad_batches take the same steps; a smaller model.processor.size; "
            "trainer.precision=bf16-mixed",
        )
    if cost.hours > LONG:
        yield Finding(
            Level.suspicious,
            "training takes weeks",
            f"about {cost.hours:.0f} hours on {cost.device} ({cost.step:.2g} s for a pair in a step)",
            "nobody waits so long for a first result",
            "a GPU, a smaller model.processor.size, fewer epochs, or data.subset to begin with",
        )
    ratio = cost.load / max(1, cost.workers) / cost.step
    if not cost.cached and ratio > WAITING and cost.waiting > NEGLIGIBLE:
        yield Finding(
            Level.suspicious,
            "loading slower than learning",
            f"to load a pair takes {1000 * cost.load:.0f} ms, to learn it {1000 * cost.step:.0f} ms; "
            f"{cost.waiting:.1f} of {cost.hours:.1f} hours are waiting (data.num_workers={cost.workers})",
            "the device stands idle",
            f"data.num_workers={math.ceil(cost.load / cost.step) + 1}, or data.cache=disk",
        )
