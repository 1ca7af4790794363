"""Runs killed again and again, each compared with the unbroken one. Run it from the project's root:

python -m experiments.kill_and_resume.measure out=experiments/kill_and_resume/kills.csv kills=9 [only=...]
"""

import csv
import random
import sys
import tempfile
from pathlib import Path

from detr_diff.cli import main
from tests.conftest import TINY
from tests.killing import EARLY, STAGED, assert_same_end, random_kills, run_and_kill, timed

MODELS = {
    "rt_detr": (),
    "detr": ("model=detr_tiny", "model.processor.size={shortest_edge: 64, longest_edge: 64}"),
}
CASES = [
    ("three stages, accumulation, EMA, strong augmentation, registration", "rt_detr", STAGED),
    ("stages that end early, validation inside epochs, bf16", "rt_detr", EARLY),
    ("the same, compiled by inductor", "rt_detr", (*EARLY, "compile=inductor")),
    ("dropout, outputs of frozen blocks kept", "detr", (*STAGED, "+stages.first.augment=none")),
]


def measure(out: Path, kills: int, work: Path, only: str) -> None:
    """Write a row for every start of every run."""
    data = work / "data"
    size = ("width=64", "height=64")
    assert main(["data", "synth", f"out={data}", "pairs=30", "scenes=10", *size]) == 0
    rows = []
    for case, (name, model, settings) in enumerate(CASES):
        if only not in name:
            continue
        tiny = [word for word in TINY if model == "rt_detr" or not word.startswith("model")]
        common = ["train", *tiny, *MODELS[model], f"data.root={data}", *settings, "resume=true"]
        seconds = timed([*common, f"runs={work}/{case}/unbroken"])
        for workers in (0, 2):
            generator, runs, hit = random.Random(100 * case + workers), 0, 0
            while hit < kills:
                run = work / str(case) / f"workers{workers}_{runs}"
                planned = random_kills(generator, 4, 0.7 * seconds)
                codes = run_and_kill([*common, f"runs={run}", f"data.num_workers={workers}"], planned)
                assert codes[-1] == 0, codes
                assert_same_end(run / "train", work / str(case) / "unbroken/train")
                for kill, code in zip(planned, codes[:-1], strict=False):
                    rows.append([name, model, workers, runs, kill.how, f"{kill.after:.2f}", code])
                runs, hit = runs + 1, hit + len(codes) - 1
            print(f"{name}, {workers} workers: {hit} kills in {runs} runs, the same in the end", flush=True)
    with out.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["case", "model", "workers", "run", "how", "after", "exit_code"])
        table.writerows(rows)


if __name__ == "__main__":
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(given["out"]), int(given["kills"]), Path(folder), given.get("only", ""))
