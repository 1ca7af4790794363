"""An epoch of the report's stage 1 with the frozen blocks run once and run in every epoch.

    python experiments/kept_prefix/measure.py RESULT.csv [gpu]

DETR with a ResNet-50 at 480x640; only the heads learn. Both roads train in turns in one process,
so that the ratio holds on a busy machine. An epoch that goes on from kept outputs is measured from the
end of the one before it, so that nothing between epochs is left out.
"""

import csv
import itertools
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning import Callback, Trainer

from detr_diff.choices import Cache
from detr_diff.cli import main as command
from detr_diff.data.datamodule import MovedObjectDataModule
from detr_diff.data.diff import Comparison
from detr_diff.data.synthetic import NAMES
from detr_diff.model.load import load_model
from detr_diff.training.detector import Detector
from detr_diff.training.kept_prefix import KeptPrefix
from detr_diff.training.process import prepare_process
from detr_diff.training.run import build_trainer, follow_stages
from detr_diff.training.staged_finetuning import StagedFinetuning

PAIRS, SCENES, ROUNDS = 40, 10, 3
EPOCHS = {Cache.off: 1, Cache.memory: 6}
CONF = Path(__file__).parents[2] / "conf"


class Clock(Callback):
    """When what ended, and every loss."""

    def __init__(self) -> None:
        self.begun: list[float] | None = None
        self.ends: list[list[float]] = []
        self.validations: list[list[float]] = []
        self.losses: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.begun = self.begun or now()

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.validations.append(now())

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.validations[-1] = since(self.validations[-1], now())

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, *_: Any) -> None:
        self.losses.append(float(outputs["loss"]))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.ends.append(now())


def now() -> list[float]:
    """Seconds on the wall, and of the processor for this process."""
    return [time.perf_counter(), time.process_time()]


def since(begin: list[float], end: list[float]) -> list[float]:
    """Both kinds of seconds between."""
    return [b - a for a, b in zip(begin, end, strict=True)]


def fit(root: Path, where: Cache, accelerator: str) -> tuple[list[float], Clock]:
    """Train some epochs of the stage; the seconds before the first, and the clock."""
    torch.manual_seed(0)
    processor = {"size": {"height": 480, "width": 640}}
    _, architecture, _ = load_model("detr", NAMES, config={"auxiliary_loss": True}, processor=processor)
    heads = yaml.safe_load((CONF / "stages/report.yaml").read_text())["heads"]
    # Frozen batch norm, as with pretrained weights.
    detector = Detector(
        asdict(replace(architecture, live_batch_norm=False)), Comparison().settings(), {"heads": heads}
    )
    data = MovedObjectDataModule(
        str(root), NAMES, detector.processor, Comparison(), split_by="scene", batch_size=2
    )
    follow_stages(data, detector, KeptPrefix(detector, data, where, 4.0, ""))
    data.setup()
    clock = Clock()
    settings = {"accelerator": accelerator, "devices": 1, "max_epochs": EPOCHS[where]}
    settings |= {"accumulate_grad_batches": 16, "reload_dataloaders_every_n_epochs": 1}
    settings |= {"enable_progress_bar": False, "num_sanity_val_steps": 0, "enable_checkpointing": False}
    trainer = build_trainer(
        settings, root.parent, detector, callbacks=[clock, StagedFinetuning(root.parent, "val/loss")]
    )
    start = now()
    trainer.fit(detector, datamodule=data)
    assert clock.begun is not None
    return since(start, clock.begun), clock


def main() -> None:
    """Measure and write the table."""
    torch.set_num_threads(1)
    prepare_process()
    accelerator = sys.argv[2] if len(sys.argv) > 2 else "cpu"
    epochs: dict[Cache, list[list[float]]] = {Cache.off: [], Cache.memory: []}
    training: dict[Cache, list[list[float]]] = {Cache.off: [], Cache.memory: []}
    once: list[list[float]] = []
    losses: dict[Cache, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        synth = ["data", "synth", f"out={root}", f"pairs={PAIRS}", f"scenes={SCENES}"]
        assert command([*synth, "width=640", "height=480"]) == 0
        for where in list(epochs) * ROUNDS:
            before, clock = fit(root, where, accelerator)
            # A single epoch from its begin.
            times = clock.ends if len(clock.ends) > 1 else [clock.begun or [], *clock.ends]
            lasted = [since(a, b) for a, b in itertools.pairwise(times)]
            epochs[where] += lasted
            validated = clock.validations[-len(lasted) :]
            training[where] += [since(v, e) for v, e in zip(validated, lasted, strict=True)]
            losses[where] = clock.losses
            if where is Cache.memory:
                once.append(before)
            shown = ", ".join(f"{wall:.2f} ({cpu:.2f})" for wall, cpu in lasted)
            print(f"{where}: {before[0]:.1f} s before the first epoch; epochs of {shown} s", flush=True)
    same = min(map(len, losses.values()))
    pairs = zip(losses[Cache.off][:same], losses[Cache.memory][:same], strict=True)
    difference = max(abs(a - b) / abs(a) for a, b in pairs)
    print(f"largest relative difference of {same} losses: {difference:.2g}")
    with Path(sys.argv[1]).open("x", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("what", "seconds", "blocks run in every epoch", "blocks run once", "times faster"))
        for name, lasted in (("training and validation", epochs), ("training alone", training)):
            for kind, seconds in enumerate(("on the wall", "of the processor")):
                row(rows, name, seconds, *(median(lasted[where], kind) for where in epochs))
        for kind, seconds in enumerate(("on the wall", "of the processor")):
            plain, kept = (20 * median(epochs[where], kind) for where in epochs)
            row(rows, "stage of 20 epochs", seconds, plain, median(once, kind) + kept)


def median(times: list[list[float]], kind: int) -> float:
    """Of one kind of seconds."""
    return statistics.median(one[kind] for one in times)


def row(rows: Any, name: str, seconds: str, plain: float, kept: float) -> None:
    """Write and show a row of the table."""
    values = (name, seconds, f"{plain:.2f}", f"{kept:.3f}", f"{plain / kept:.1f}")
    rows.writerow(values)
    print(*values, sep="\t")


if __name__ == "__main__":
    main()
