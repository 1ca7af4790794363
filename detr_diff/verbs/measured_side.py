"""Our side of the benchmark, on the road that users take: settings, Detector, data module, Lightning.

`detr-diff bench` starts this in a process of its own, with the same jobs that the reference gets; see
JOB in experiments/speed/reference.py. What ours alone needs is `model` (a file in conf/model/) and
`overrides` (settings of train, the switches of the user).
"""

import json
import logging
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
from lightning import seed_everything

from detr_diff.bench.clock import Clock, Validation, memory
from detr_diff.bench.turns import Turns
from detr_diff.compose import compose
from detr_diff.data.batch import collate
from detr_diff.data.datamodule import MovedObjectDataModule
from detr_diff.data.sprites import NAMES
from detr_diff.evaluation.detection_metrics import DetectionMetrics
from detr_diff.training.process import prepare_process
from detr_diff.verbs import predict as predict_verb
from detr_diff.verbs.measured_limits import LIMITS
from detr_diff.verbs.measured_training import Job, Training, training_settings
from detr_diff.verbs.parts import data_module, new_detector, stage_plan

# Of the settings of train those that predict has, too.
INFERENCE = ("trainer.precision", "data.num_workers", "data.batch_size")


def weights(job: Job, turns: Turns, folder: Path) -> None:
    """A folder as the hub has it: random weights for our classes, batch norm that has seen the data."""
    seed_everything(0, verbose=False)
    job = {**job, "weights": None, "batch_norm": "live"}
    settings = training_settings(job, 1)
    detector, _ = new_detector(settings, stage_plan(settings))
    data: MovedObjectDataModule = data_module(settings, detector)
    data.setup()
    batch = next(iter(data.loader("all")))
    moved: Any = detector.transfer_batch_to_device(batch, torch.device("cpu"), 0)
    masks = torch.ones_like(moved.images[:, 0])
    with torch.no_grad():
        for _ in range(20):  # each moves the running statistics by a tenth
            detector.detr.model.backbone(moved.images, masks)  # type: ignore[operator, union-attr]
    detector.detr.save_pretrained(job["out"])  # type: ignore[operator]
    detector.processor.save_pretrained(job["out"])
    turns.end()


def fit(job: Job, turns: Turns, folder: Path) -> None:
    """Training; a turn is an epoch, some steps, a validation, or a whole stage."""
    clock = Clock(turns, job["unit"], job["steps"], job["warm"])
    if job["unit"] == "stage":
        _stages(job, turns, folder)
        return
    epochs, changed = 1 + job["turns"], ["trainer.accumulate_grad_batches=1"]
    if job["unit"] == "step":
        epochs = steps = job["warm"] + job["turns"] * job["steps"]
        changed += [f"+trainer.max_steps={steps}", "data.num_workers=0"]
    elif job["unit"] == "epoch":
        changed = []
    else:  # half of the pairs validate
        changed += ["data.split_by=column", "trainer.limit_val_batches=null"]
    training = Training(job, clock, folder, epochs, *changed)
    clock.facts = {"cache_s": training.fill_cache()}
    training.fit()


def _stages(job: Job, turns: Turns, folder: Path) -> None:
    """Each turn trains a whole stage anew, from the first epoch, in which frozen blocks run once."""
    for turn in range(1 + job["turns"]):
        if turn:
            turns.begin()  # before anything is built: the other side measures until then
        clock = Clock(turns, "stage", 0, 0)
        epochs = job["epochs"] if turn else 2
        training = Training(job, clock, folder, epochs)
        filled = training.fill_cache()
        if not turn:
            training.fit()
            turns.ready(cache_s=filled)
            continue
        turns.restart()
        clock.start()
        training.fit()
        first, *following = clock.epochs
        turns.end(
            seconds=first + sum(following),
            first=first,
            following=sum(following) / max(1, len(following)),
            **memory(torch.device(job["device"])),
        )


def loading(job: Job, turns: Turns, folder: Path) -> None:
    """One sample after the other, each a batch; with a cache from the cache.

    The reference enlarges and normalises while it loads, ours on the device: both are told, without
    and with that.
    """
    training = Training(job, None, folder, 1)
    detector, dataset = training.detector, training.data.datasets["train"]
    training.data.settings.cache = job["cache"]  # whatever the user's settings say
    training.fill_cache("train")
    turns.ready(pixels=list(*dataset.sizes()))
    for _ in range(job["turns"]):
        turns.begin()
        indices = [*range(len(dataset))] * job["passes"]
        start = perf_counter()
        for index in indices:
            # Copied, as pinning and workers do it: a cache may hand out what is still on the disk.
            collate([dataset[index]]).images[0].clone()
        loaded = perf_counter()
        for index in indices:
            detector.transfer_batch_to_device(collate([dataset[index]]), torch.device("cpu"), 0)
        seconds = {"loaded": loaded - start, "normalised": perf_counter() - loaded}
        turns.end(**{key: value / len(indices) for key, value in seconds.items()})


def validate(job: Job, turns: Turns, folder: Path) -> None:
    """The loss and all metrics of all pairs."""
    validation = Validation()
    training = Training(job, validation, folder, 1, "trainer.limit_val_batches=null")
    filled = training.fill_cache("all")
    loader = training.data.loader("all")

    def run() -> float:
        validation.start()
        (figures,) = training.trainer.validate(training.detector, loader, verbose=False)
        return figures["val/map"]

    run()
    turns.ready(pairs=len(training.data.datasets["all"]), cache_s=filled)
    for _ in range(job["turns"]):
        turns.begin()
        average = run()
        turns.end(seconds=validation.seconds, map=average, **memory(torch.device(job["device"])))


def loss(job: Job, turns: Turns, folder: Path) -> None:
    """The loss of the first batch with the weights as they are, nothing dropped out."""
    torch.backends.cudnn.allow_tf32 = False  # which rounds to ten bits
    training = Training(job, None, folder, 1, "trainer.limit_val_batches=1")
    loader = training.data.loader("all")
    (pixels,) = training.data.datasets["all"].sizes()
    (figures,) = training.trainer.validate(training.detector, loader, verbose=False)
    turns.ready()
    turns.begin()
    turns.end(loss=figures["val/loss"], pixels=pixels)


def metrics(job: Job, turns: Turns, folder: Path) -> None:
    """The metrics alone, on predictions that are there already."""
    found, truths = torch.load(job["data"], weights_only=True)

    def run(images: int) -> float:
        computed = DetectionMetrics(NAMES)
        for start in range(0, images, 8):
            rows = range(start, min(start + 8, images))
            computed.update(found[start : rows.stop], truths[start : rows.stop], rows)
        return computed.compute()[0]["map"]

    run(10)
    turns.ready()
    for _ in range(job["turns"]):
        turns.begin()
        start = perf_counter()
        average = run(len(found))
        turns.end(seconds=perf_counter() - start, map=average)


def predict(job: Job, turns: Turns, folder: Path) -> None:
    """From the checkpoint on disk to predictions.json and a picture for each pair."""
    training = Training(job, None, folder, 1, "+trainer.max_steps=1", "trainer.accumulate_grad_batches=1")
    training.fit()
    checkpoint = folder / "best.ckpt"
    training.trainer.save_checkpoint(checkpoint)
    pairs = len(training.data.datasets["all"])
    device = torch.device(job["device"])
    del training
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()  # the peak of the training is none of a prediction
    given = [word for word in job["overrides"] if word.startswith(INFERENCE)]
    for turn in range(1 + job["turns"]):
        out = Path(job["out"]) / f"ours_{turn}"
        words = [f"ckpt_path={checkpoint}", f"out={out}", f"data.root={job['data']}", "threshold=0.5"]
        words += [f"trainer.accelerator={'cpu' if job['device'] == 'cpu' else 'gpu'}"]
        if turn:
            turns.begin()
        start = perf_counter()
        predict_verb.run(compose("predict", [*words, "trainer.enable_progress_bar=false", *given]))
        lasted = perf_counter() - start
        written = json.loads((out / "predictions.json").read_text(encoding="utf-8"))
        objects = sum(len(pair["objects"]) for pair in written)
        if turn:
            turns.end(seconds=lasted, objects=objects, **memory(device))
        else:
            turns.ready(pairs=pairs)


TASKS = {
    "weights": weights,
    "fit": fit,
    "loading": loading,
    "validate": validate,
    "loss": loss,
    "metrics": metrics,
    "predict": predict,
    **LIMITS,
}


def main(text: str | None = None) -> None:
    """Do one job, or those that come from standard input."""
    prepare_process()
    logging.getLogger("detr_diff").setLevel(logging.WARNING)
    turns = Turns(wait=text is None)
    for line in sys.stdin if text is None else [text]:
        job = json.loads(line)
        torch.set_num_threads(job.get("threads") or torch.get_num_threads())
        with TemporaryDirectory() as folder:
            TASKS[job["task"]](job, turns, Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:2])
