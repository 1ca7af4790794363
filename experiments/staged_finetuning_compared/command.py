"""The same run by the real command: detr-diff train."""

import json
import os
import subprocess
import sys
from pathlib import Path

from wanted import EPOCHS, STEPS

ROOT = Path(__file__).parents[2]
BATCH = 2

# Constant in gradual, a cosine an epoch in the report's; see wanted.py.
COSINE = {"epochs": 2, "schedule": "cosine", "cycles": 2, "warmup": 0.0}
CONSTANT = {"epochs": 2, "schedule": "constant", "warmup": 0.0}
STAGES = {
    "report": {
        "heads": {**COSINE, "learn": ["heads"], "lr": 1e-4},
        "all": {**COSINE, "learn": ["all"], "lr": 5e-5},
        "settle": {**COSINE, "learn": ["all"], "lr": 1e-5},
    },
    "gradual": {
        "heads": {**CONSTANT, "learn": ["heads"], "lr": 1e-4},
        "transformer": {**CONSTANT, "learn": ["heads", "transformer"], "lr": 1e-4},
        "backbone": {**CONSTANT, "learn": ["all"], "lr": {"all": 1e-4, "backbone": 1e-5}},
    },
}
assert all(sum(stage["epochs"] for stage in stages.values()) == EPOCHS for stages in STAGES.values())


def command(schedule: str, folder: Path, kill: tuple[int, int] | None, resume: bool, ranks: int) -> None:
    """Run it and wait for its end; the outcome is in the folder.

    Args:
        schedule: report or gradual.
        folder: Of this run.
        kill: Epoch and batch in which it is killed.
        resume: Whether it goes on from its newest checkpoint.
        ranks: Number of processes.
    """
    words = [
        "train",
        "model=detr_tiny",
        "model.processor.size={shortest_edge: 64, longest_edge: 64}",
        f"data.root={_data(folder)}",
        f"data.batch_size={BATCH}",
        f"data.subset={BATCH * STEPS}",
        "data.split_by=scene",
        "trainer.accelerator=cpu",
        "trainer.accumulate_grad_batches=1",
        "trainer.enable_progress_bar=false",
        "trainer.log_every_n_steps=1",
        "checkpoint.every_n_steps=1",
        "logger=csv",
        "overlays=0",
        "stages=all",
        "~stages.all",
        *(f"+stages.{name}={_value(stage)}" for name, stage in STAGES[schedule].items()),
        f"runs={folder}",
        "run_name=run",
        f"trainer.devices={ranks}",
        f"resume={str(resume).lower()}",
    ]
    environment = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, Path(__file__).parent, _plugin(folder))))}
    environment |= {"STUDY_FOLDER": str(folder), "STUDY_KILL": ",".join(map(str, kill or ()))}
    with (folder / "log0.txt").open("a") as log:
        subprocess.run(
            [sys.executable, "-m", "detr_diff", *words],
            cwd=ROOT,
            env={**os.environ, **environment, "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
            check=False,
        )


def _value(stage: dict[str, object]) -> str:
    """A stage as Hydra reads it."""
    return json.dumps(stage).replace('"', "")


def _data(folder: Path) -> Path:
    """Generated pairs of 64x64, the same for runs that lie side by side."""
    root = folder.parent / "data"
    if not root.exists():
        sizes = "pairs=60", "scenes=10", "width=64", "height=64"
        words = [sys.executable, "-m", "detr_diff", "data", "synth", f"out={root}", *sizes]
        subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    return root


def _plugin(folder: Path) -> Path:
    """A distribution that only has an entry point, by which Lightning finds the measuring callbacks."""
    root = folder / "plugin"
    (root / "study-0.dist-info").mkdir(parents=True, exist_ok=True)
    (root / "study-0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: study\nVersion: 0\n")
    entry = "[lightning.pytorch.callbacks_factory]\nstudy = record:from_environment\n"
    (root / "study-0.dist-info/entry_points.txt").write_text(entry)
    return root
