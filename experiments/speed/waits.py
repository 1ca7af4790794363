"""What a training step waits for on a GPU, and which kernels it spends its time in.

    python experiments/speed/waits.py [settings of train ...]

Without a GPU nothing waits, and the times are those of the processor.
"""

import sys
import traceback
import warnings
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning import Callback, Trainer
from torch.profiler import ProfilerActivity, profile

from detr_diff.bench.cases import RESNET50, Options
from detr_diff.verbs.measured_training import Training

WARM, WATCHED, PROFILED = 8, 4, 4  # steps, one kind after the other


class Watch(Callback):
    """Counts waits in some steps, profiles those that follow."""

    def __init__(self) -> None:
        self.waits: Counter[str] = Counter()
        there = torch.cuda.is_available()
        self.activities = [ProfilerActivity.CUDA if there else ProfilerActivity.CPU]
        self.sorted_by = f"self_{'cuda' if there else 'cpu'}_time_total"
        self.there = there

    def on_train_batch_start(self, trainer: Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == WARM and self.there:
            warnings.showwarning = self._note
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
        if trainer.global_step == WARM + WATCHED:
            if self.there:
                torch.cuda.set_sync_debug_mode("default")
            self.profile = profile(activities=self.activities)
            self.profile.__enter__()

    def on_train_end(self, trainer: Trainer, module: Any) -> None:
        self.profile.__exit__(None, None, None)

    def _note(self, message: Any, *_: Any, **__: Any) -> None:
        if "synchroniz" in str(message):
            frames = [frame for frame in traceback.extract_stack() if "warnings" not in frame.filename]
            own = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[:-1]]
            self.waits[" < ".join(reversed(own[-4:]))] += 1


def main(overrides: list[str]) -> None:
    """Train for some steps."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with TemporaryDirectory() as scratch:
        options = Options(
            Path(scratch),
            device,
            [],
            {},
            [*overrides, "trainer.log_every_n_steps=0"],  # to log waits, too, but seldom
            turns=1,
            pairs=16,
            batch_size=8 if device == "cuda" else 1,
            accumulate=1,
            epochs=1,
            short=False,
        )
        size = {"shortest_edge": 800, "longest_edge": 1333} if device == "cuda" else dict(RESNET50.size)
        data = options.data((1066, 800) if device == "cuda" else RESNET50.frame, 16)
        job = {**options.job(RESNET50, data=data, size=size), "weights": None}
        watch, steps = Watch(), WARM + WATCHED + PROFILED
        training = Training(job, watch, Path(scratch), steps, f"+trainer.max_steps={steps}")
        training.fill_cache()
        training.fit()
    for place, count in watch.waits.most_common():
        print(f"waits: {count / WATCHED:g} a step: {place}")
    print(f"waits: {sum(watch.waits.values()) / WATCHED:g} a step in all")
    print(watch.profile.key_averages().table(sort_by=watch.sorted_by, row_limit=25, max_name_column_width=70))


if __name__ == "__main__":
    main(sys.argv[1:] or ["trainer.precision=bf16-mixed", "data.cache=disk"])
