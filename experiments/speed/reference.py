"""The mission's pipeline as its users would write it, with the transformers Trainer; nothing of detr_diff.

    python experiments/speed/reference.py '{"task": "fit", "data": "my_data", "unit": "epoch", "turns": 3}'

Frame pairs are read with PIL, compared by absdiff and given to the image processor; DetrForObjectDetection
learns with AdamW, in stages that are made by freezing. The job is JSON, see JOB. One line of JSON tells the
times; what warms up is not in them. Without a job, jobs come from standard input, and an empty line begins
each turn of a job: so detr-diff bench lets two sides take turns.
"""

import gc
import json
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch
from reference_data import FramePairDataset, collate
from reference_evaluation import compute_metrics, detections, measure_metrics
from reference_turns import Clock, Turns, memory
from transformers import (
    AutoImageProcessor,
    AutoModelForObjectDetection,
    DetrConfig,
    DetrForObjectDetection,
    DetrImageProcessor,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.utils import logging

JOB = {
    "task": "fit",  # fit, loading, validate, metrics, predict or loss
    "data": None,  # folder with images/**/<id>_before.*, <id>_after.* and labels/**/<id>.txt
    "names": ["person", "car", "bicycle"],
    "weights": None,  # folder made by save_pretrained; None: DETR with a ResNet-50 and random weights
    "size": {"shortest_edge": 800, "longest_edge": 1333},
    "batch_size": 2,
    "accumulate": 16,
    "stage": 2,  # 1: the heads learn at 1e-4; 2: everything at 5e-5; 3: everything at 1e-5
    "unit": "epoch",  # a turn is an epoch, or so many steps
    "steps": 4,
    "warm": 2,  # steps before the first turn; of epochs one
    "turns": 3,
    "passes": 1,  # over the samples in a turn of loading
    "device": "cpu",
    "flags": {},  # of TrainingArguments; none: fp32, loading in the main process
    "out": None,  # folder that predict writes
    "seed": 0,
}
RATES = {1: 1e-4, 2: 5e-5, 3: 1e-5}
HEADS = ("class_labels_classifier", "bbox_predictor")


def load_processor(job):
    """The image processor, which does all resizing and normalising."""
    if job["weights"] is None:
        return DetrImageProcessor(size=job["size"])
    return AutoImageProcessor.from_pretrained(job["weights"], size=job["size"])


def load_model(job):
    """The model for our classes."""
    if job["weights"] is not None:
        return AutoModelForObjectDetection.from_pretrained(job["weights"])
    names = job["names"]
    ids = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    return DetrForObjectDetection(DetrConfig(auxiliary_loss=True, **ids))


def freeze(model, stage):
    """In stage 1 the heads learn, then everything."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad = stage > 1 or name.startswith(HEADS)


def arguments(job, **changed):
    """As the mission has them; the flags of the job are what a tuned run adds."""
    settings = {
        "output_dir": str(Path(job["out"] or job["data"]) / "reference"),
        "per_device_train_batch_size": job["batch_size"],
        "gradient_accumulation_steps": job["accumulate"],
        "learning_rate": RATES[job["stage"]],
        "lr_scheduler_type": "cosine_with_restarts",
        "weight_decay": 1e-4,
        "max_grad_norm": 0.1,
        "remove_unused_columns": False,
        "eval_do_concat_batches": False,  # images may have different sizes
        "save_strategy": "no",  # the time to write checkpoints is measured on no side
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 10,
        "seed": job["seed"],
        "use_cpu": job["device"] == "cpu",
        "dataloader_pin_memory": job["device"] != "cpu",
    }
    return TrainingArguments(**{**settings, **job["flags"], **changed})


def build(job, callbacks=(), **changed):
    """Data, model and Trainer."""
    set_seed(job["seed"])
    processor, model = load_processor(job), load_model(job)
    freeze(model, job["stage"])
    dataset = FramePairDataset(job["data"], processor)
    return Trainer(
        model=model,
        args=arguments(job, **changed),
        train_dataset=dataset,
        eval_dataset=dataset,
        data_collator=collate,
        compute_metrics=lambda prediction: compute_metrics(prediction, processor, dataset),
        callbacks=list(callbacks),
    )


def fit(job, turns):
    """Training; a turn is an epoch or some steps."""
    clock = Clock(turns, job)
    if job["unit"] == "epoch":
        length = {"num_train_epochs": 1 + job["turns"]}
    else:
        length = {"max_steps": job["warm"] + job["turns"] * job["steps"], "gradient_accumulation_steps": 1}
    trainer = build(job, [clock], **length)
    clock.pixels = list(trainer.train_dataset[0]["pixel_values"].shape[-2:])
    trainer.train()


def loading(job, turns):
    """One sample after the other, as a worker would load them."""
    dataset = FramePairDataset(job["data"], load_processor(job))
    sample = dataset[0]
    turns.ready(pixels=list(sample["pixel_values"].shape[-2:]))
    for _ in range(job["turns"]):
        turns.begin()
        start = time.perf_counter()
        for _ in range(job["passes"]):
            for index in range(len(dataset)):
                dataset[index]
        turns.end(seconds=(time.perf_counter() - start) / (job["passes"] * len(dataset)))


def validate(job, turns):
    """The loss, AP and P/R/F1 of all pairs."""
    trainer = build(job)
    trainer.evaluate()
    turns.ready(pairs=len(trainer.eval_dataset))
    for _ in range(job["turns"]):
        turns.begin()
        start = time.perf_counter()
        figures = trainer.evaluate()
        turns.end(seconds=time.perf_counter() - start, map=figures["eval_map"], **memory(job["device"]))


def loss(job, turns):
    """The loss of the first batch with the weights as they are, nothing dropped out."""
    torch.backends.cudnn.allow_tf32 = False  # which rounds to ten bits
    trainer = build(job)
    batch = [trainer.eval_dataset[index] for index in range(job["batch_size"])]
    trainer.eval_dataset = batch
    trainer.compute_metrics = None
    figures = trainer.evaluate()
    turns.ready()
    turns.begin()
    turns.end(loss=figures["eval_loss"], pixels=list(batch[0]["pixel_values"].shape[-2:]))


def predict(job, turns):
    """From the weights on disk to predictions.json and a picture for each pair."""
    for turn in range(1 + job["turns"]):
        if turn:
            turns.begin()
        start = time.perf_counter()
        dataset = FramePairDataset(job["data"], load_processor(job))
        found = detections(load_model(job), dataset, job, Path(job["out"]) / f"reference_{turn}")
        lasted = time.perf_counter() - start
        if turn:
            turns.end(seconds=lasted, objects=found, **memory(job["device"]))
        else:
            turns.ready(pairs=len(dataset))


def largest(job, turns):
    """The largest batch, of 1, 2, 4, ..., that can be trained with before the memory is full."""
    fitting, size, fits = 0, 1, True
    while fits and size <= job.get("most", 1024):
        try:
            build({**job, "batch_size": size}, max_steps=2, gradient_accumulation_steps=1).train()
            fitting, size = size, 2 * size
        except RuntimeError as error:  # full memory has many names: of the allocator, cuBLAS, cuDNN
            if not fitting:
                raise
            print(f"a batch of {size}: {error}".partition("\n")[0], file=sys.stderr)
            fits = False
        # The model before must be gone, for the next one and for the other sides.
        gc.collect()
        with suppress(RuntimeError):
            torch.cuda.empty_cache()
    turns.end(largest=fitting)


TASKS = {
    "fit": fit,
    "loading": loading,
    "validate": validate,
    "metrics": measure_metrics,
    "predict": predict,
    "loss": loss,
    "largest": largest,
}


def main(text=None):
    """Do one job, or those that come."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    turns = Turns(wait=text is None)
    for line in sys.stdin if text is None else [text]:
        job = {**JOB, **json.loads(line)}
        torch.set_num_threads(job.get("threads") or torch.get_num_threads())
        TASKS[job["task"]](job, turns)
    turns.close()


if __name__ == "__main__":
    main(*sys.argv[1:2])
