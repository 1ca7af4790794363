"""Throughput against workers, batch, image size, data set size and processes."""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from detr_diff.bench.cases import DEMO, RESNET50, TINY, Network, Options
from detr_diff.bench.commands import environment
from detr_diff.bench.material import write_pairs
from detr_diff.bench.result import Curve
from detr_diff.bench.side import Failed, Sides
from detr_diff.data.description import write_description
from detr_diff.data.sprites import NAMES

WORKERS, BATCHES, SETS, PROCESSES = [0, 1, 2], [1, 2, 4, 8, 16], [10**3, 10**4, 10**5, 10**6], [1, 2]
SHARED = 16  # frame pairs and label files that a large data set is made of
LAUNCH = ("-m", "torch.distributed.run", "--nproc_per_node")


def scale(options: Options, sides: Sides) -> list[Curve]:
    """All curves, as they come."""
    curves = []
    for curve in _curves(options, sides):
        points = ", ".join(f"{v:g}: {r:.3g}" for v, r in zip(curve.values, curve.rates, strict=True))
        print(f"scaling: {curve.title} over {curve.over}: {points} pairs/s", flush=True)
        curves.append(curve)
        sides.release()
    return curves


def _curves(options: Options, sides: Sides) -> Iterator[Curve]:
    short = options.short
    loaded = TINY if short else RESNET50
    stepped = TINY if short else RESNET50 if options.device == "cuda" else DEMO
    frame = loaded.frame if short else (1280, 960)
    workers, batches = (WORKERS[:2], BATCHES[:2]) if short else (WORKERS, BATCHES)

    def ask(job: dict[str, Any]) -> dict[str, Any]:
        return sides.start("ours").prepare(job)

    def load(**changed: Any) -> float:
        data = options.data(frame, 4 if short else 32)
        job = options.job(loaded, task="load", data=data, **{"workers": 0, "weights": None, **changed})
        return float(ask(job)["rate"])

    def step(network: Network, **changed: Any) -> float:
        data = options.data(network.frame, 32)
        job = options.job(network, task="fit", unit="step", data=data, weights=None, **changed)
        ask(job)
        times = [float(sides.start("ours").turn()["seconds"]) for _ in range(options.turns)]
        return float(job["batch_size"]) / median(times)

    yield Curve(
        "loading", "workers", [float(w) for w in workers], [load(workers=w, batch_size=4) for w in workers]
    )
    yield Curve("loading", "batch", [float(b) for b in batches], [load(batch_size=b) for b in batches])
    edges = [36, 72] if short else [240, 480, 800]
    sizes = [{"shortest_edge": edge, "longest_edge": 2 * edge} for edge in edges]
    yield Curve("loading", "shortest edge", [float(e) for e in edges], [load(size=size) for size in sizes])
    yield Curve(
        f"step, {stepped.title}",
        "batch",
        [float(b) for b in batches],
        [step(stepped, batch_size=b) for b in batches],
    )
    yield Curve(
        f"step, {stepped.title}",
        "shortest edge",
        *_by_size(options, stepped, step),
    )
    counts = SETS[:1] if short else SETS
    answers = [
        ask(
            options.job(
                stepped,
                task="discover",
                data=str(write_large(options.scratch / f"set_{count}", count, stepped.frame)),
                weights=None,
            )
        )
        for count in counts
    ]
    for title, key in (("loading", "rate"), ("finding and reading", "found")):
        yield Curve(title, "pairs of the data set", [float(c) for c in counts], [a[key] for a in answers])
    numbers = PROCESSES[:1] if short else PROCESSES
    yield Curve(
        f"epoch, {stepped.title}",
        "processes",
        [float(n) for n in numbers],
        [processes(options, stepped, number) for number in numbers],
    )


def _by_size(options: Options, network: Network, step: Any) -> tuple[list[float], list[float]]:
    """Steps on images of half, all and twice the size of a network."""
    shares = [1.0, 2.0] if options.short else [0.5, 1.0, 2.0]
    sizes = [{side: round(share * value) for side, value in network.size.items()} for share in shares]
    return [float(min(size.values())) for size in sizes], [step(network, size=size) for size in sizes]


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


def processes(options: Options, network: Network, number: int) -> float:
    """Pairs per second of epochs in so many processes that share batches of four.

    Raises:
        Failed: A process ended with an error.
    """
    pairs = 8 if options.short else 64
    job = options.job(
        network,
        task="fit",
        weights=None,
        data=options.data(network.frame, pairs),
        batch_size=max(1, 4 // number),
        accumulate=1,
        turns=max(2, options.turns),
    )
    job["overrides"] = [*job["overrides"], f"trainer.devices={number}"]
    words = [sys.executable, *LAUNCH, str(number), "-m", "detr_diff.verbs.measured_side", json.dumps(job)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment())
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    times = [answer["seconds"] for answer in answers if "seconds" in answer]
    if done.returncode or not times:
        raise Failed((done.stderr.strip().splitlines() or ["no answer"])[-1])
    return pairs / median(times)
