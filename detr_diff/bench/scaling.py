"""Throughput against workers, batch, image size, data set size and processes."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from detr_diff.bench.cases import DEMO, RESNET50, TINY, Options
from detr_diff.bench.commands import environment
from detr_diff.bench.material import write_pairs
from detr_diff.bench.result import Curve
from detr_diff.bench.side import Failed, Sides
from detr_diff.data.description import write_description
from detr_diff.data.sprites import NAMES

WORKERS, BATCHES, SETS, PROCESSES = [0, 1, 2], [1, 2, 4, 8, 16], [10**3, 10**4, 10**5, 10**6], [1, 2]
SHARED = 16  # frame pairs and label files that a large data set is made of
SIDE = "detr_diff.verbs.measured_side"
LAUNCH = ("-m", "torch.distributed.run", "--nproc_per_node")


class Scaling:
    """Measures the curves.

    Args:
        options: What the user chose.
        sides: Ours is asked.
    """

    def __init__(self, options: Options, sides: Sides) -> None:
        self.options = options
        self.sides = sides
        self.short = options.short
        self.loaded = TINY if self.short else RESNET50
        self.stepped = TINY if self.short else RESNET50 if options.device == "cuda" else DEMO
        self._sets: dict[float, dict[str, Any]] = {}

    def curves(self) -> Iterator[Curve]:
        """All of them, as they come; where a point fails, the curve ends before it."""
        for title, over, values, rate in self._plan():
            curve = Curve(title, over, [], [])
            try:
                for value in values[:2] if self.short else values:
                    curve.rates.append(rate(value))
                    curve.values.append(float(value))
            except Failed as error:
                print(f"scaling: {title} over {over}: failed at {value:g}: {error}", flush=True)
                self.sides.close()
            points = ", ".join(f"{v:g}: {r:.3g}" for v, r in zip(curve.values, curve.rates, strict=True))
            print(f"scaling: {title} over {over}: {points} pairs per second", flush=True)
            if curve.values:
                yield curve

    def _plan(self) -> list[tuple[str, str, Sequence[float], Callable[[Any], float]]]:
        """Title, what changes, its values, and what gives the pairs per second at one of them."""
        step, epoch = f"step, {self.stepped.title}", f"epoch, {self.stepped.title}"
        edge = min(self.loaded.size.values())
        edges, processes = [edge // 2, edge, 5 * edge // 3], PROCESSES[: 1 if self.short else None]
        sets = SETS[: 1 if self.short else None]
        return [
            ("loading", "workers", WORKERS, lambda n: self._load(workers=n, batch_size=4)),
            ("loading", "batch", BATCHES, lambda n: self._load(batch_size=n)),
            ("loading", "shortest edge", edges, lambda n: self._load(size=_size(n))),
            ("loading", "pairs of the data set", sets, lambda n: float(self._set(n)["rate"])),
            ("finding and reading", "pairs of the data set", sets, lambda n: float(self._set(n)["found"])),
            (step, "batch", BATCHES, lambda n: self._step(batch_size=n)),
            (step, "size of the image, times", [1, 2, 3], self._step_at),
            (epoch, "processes", processes, self._processes),
        ]

    def _ask(self, job: dict[str, Any]) -> dict[str, Any]:
        return self.sides.start("ours").prepare({**job, "weights": None})

    def _load(self, **changed: Any) -> float:
        frame = self.loaded.frame if self.short else (1280, 960)
        data = self.options.data(frame, 4 if self.short else 32)
        job = self.options.job(self.loaded, task="load", data=data, **{"workers": 0, **changed})
        return float(self._ask(job)["rate"])

    def _set(self, pairs: int) -> dict[str, Any]:
        if pairs not in self._sets:
            root = write_large(self.options.scratch / f"set_{pairs}", pairs, self.stepped.frame)
            self._sets[pairs] = self._ask(self.options.job(self.stepped, task="discover", data=str(root)))
        return self._sets[pairs]

    def _step(self, **changed: Any) -> float:
        data = self.options.data(self.stepped.frame, 32)
        job = self.options.job(self.stepped, task="fit", unit="step", data=data, **changed)
        self._ask(job)
        times = [float(self.sides.start("ours").turn()["seconds"]) for _ in range(self.options.turns)]
        return float(job["batch_size"]) / median(times)

    def _step_at(self, times: int) -> float:
        return self._step(size={side: times * value for side, value in self.stepped.size.items()})

    def _processes(self, number: int) -> float:
        """Epochs in so many processes that share batches of four."""
        pairs = 8 if self.short else 64
        job = self.options.job(
            self.stepped,
            task="fit",
            weights=None,
            data=self.options.data(self.stepped.frame, pairs),
            batch_size=max(1, 4 // number),
            accumulate=1,
            turns=max(2, self.options.turns),
        )
        job["overrides"] = [*job["overrides"], f"trainer.devices={number}"]
        words = [sys.executable, *LAUNCH, str(number), "-m", SIDE, json.dumps(job)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment())
        answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        times = [answer["seconds"] for answer in answers if "seconds" in answer]
        if done.returncode or not times:
            raise Failed((done.stderr.strip().splitlines() or ["no answer"])[-1])
        return pairs / median(times)


def _size(edge: int) -> dict[str, int]:
    return {"shortest_edge": edge, "longest_edge": 2 * edge}


def write_large(root: Path, pairs: int, frame: tuple[int, int]) -> Path:
    """A data set whose pairs share a few frames and label files, so that a million is quickly written."""
    write_pairs(root, SHARED, frame)
    with (root / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("pair", "before", "after", "label"))
        for index in range(pairs):
            shared = f"{index % SHARED:07d}"
            frames = (f"images/{shared}_{role}.png" for role in ("before", "after"))
            rows.writerow((f"pair_{index:07d}", *frames, f"labels/{shared}.txt"))
    write_description(root, NAMES, None)
    return root
