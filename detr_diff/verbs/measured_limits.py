"""How far our side goes on a machine: throughput of loading, parts of a step, the largest batch."""

import gc
import logging
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from time import perf_counter

import torch

from detr_diff.bench.device import SIDE, peak
from detr_diff.bench.floors import bandwidth, floors
from detr_diff.bench.turns import Turns
from detr_diff.data.batch import Batch, Samples
from detr_diff.verbs.measured_training import Job, Training, training_settings
from detr_diff.verbs.parts import data_module, new_detector, stage_plan

log = logging.getLogger(__name__)

LARGEST = 1024  # batch that is tried


def load(job: Job, turns: Turns, folder: Path) -> None:
    """Batches of all pairs through the loader, pairs per second; the pass before it warms up."""
    # Behind the user's own settings, which would say otherwise.
    own = [f"data.num_workers={job['workers']}", f"data.eval_batch_size={job['batch_size']}"]
    training = Training({**job, "overrides": [*job["overrides"], *own]}, None, folder, 1)
    loader = training.data.loader("all")
    for _ in loader:
        pass
    start = perf_counter()
    for _ in loader:
        pass
    turns.end(rate=len(training.data.datasets["all"]) / (perf_counter() - start))


def discover(job: Job, turns: Turns, folder: Path) -> None:
    """To find, read and divide a data set, and to load samples here and there in it; pairs per second."""
    settings = training_settings(job, 1)
    data = data_module(settings, new_detector(settings, stage_plan(settings))[0])
    start = perf_counter()
    data.setup()
    found = perf_counter()
    dataset, number = data.datasets["all"], 64
    dataset[0]
    begun = perf_counter()
    for index in range(number):
        dataset[index * len(dataset) // number]
    turns.end(found=len(dataset) / (found - start), rate=number / (perf_counter() - begun))


def count(job: Job, turns: Turns, folder: Path) -> None:
    """What each part of a step takes and must take, and how many operations a second a plain product does."""
    training = Training(job, None, folder, 1, f"data.eval_batch_size={job['batch_size']}")
    device = torch.device(job["device"])
    detector = training.detector.to(device)
    samples: Samples = next(iter(training.data.loader("all")))
    moved: Batch = detector.transfer_batch_to_device(samples, device, 0)
    labels = detector.labels(moved)

    def loss() -> torch.Tensor:
        return detector.detr(pixel_values=moved.images, pixel_mask=moved.masks, labels=labels).loss

    context = training.trainer.precision_plugin.forward_context
    best, copied = peak(device, job.get("side", SIDE)), bandwidth(device)
    found = [asdict(floor) for floor in floors(detector.detr, loss, context, best, copied)]
    turns.end(
        operations=sum(floor["operations"] for floor in found), peak=best, bandwidth=copied, parts=found
    )


def largest(job: Job, turns: Turns, folder: Path) -> None:
    """The largest batch, of 1, 2, 4, ..., that can be trained with before the memory is full."""
    fitting, size, fits = 0, 1, True
    while fits and size <= job.get("most", LARGEST):
        given = {**job, "batch_size": size, "accumulate": 1}
        try:
            Training(given, None, folder, 1, "+trainer.max_steps=2").fit()
            fitting, size = size, 2 * size
        except RuntimeError as error:  # full memory has many names: of the allocator, cuBLAS, cuDNN
            if not fitting:
                raise
            log.warning("a batch of %d: %s", size, str(error).partition("\n")[0])
            fits = False
        # The model before must be gone, for the next one and for the other sides.
        gc.collect()
        with suppress(RuntimeError):
            torch.cuda.empty_cache()
    turns.end(largest=fitting)


LIMITS = {"load": load, "discover": discover, "count": count, "largest": largest}
