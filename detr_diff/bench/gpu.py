"""What a step asks of a GPU, and how large a batch it takes."""

from collections.abc import Callable
from typing import Any

from detr_diff.bench.cases import Options, step
from detr_diff.bench.measurement import Line, Measurement, Row

PAIRS = 1024  # so many must be there for the largest batch
Take = Callable[[Measurement], list[Row]]


def step_floors(options: Options, take: Take) -> dict[str, Any]:
    """The peak of a plain bf16 product and the bandwidth, and what the parts of each step take beside them.

    Args:
        options: What the user chose.
        take: Measures.
    """
    found: dict[str, Any] = {"operations": {}, "parts": {}}
    for measurement in step(options):
        (line,) = measurement.lines
        ours = {**measurement.jobs["ours"], "task": "count"}
        (row,) = take(Measurement("gpu", {"ours": ours}, 0, [Line(line.case, "step")]))
        if "ours" in row.failed:
            print(f"floors: {line.case}: failed: {row.failed['ours']}", flush=True)
            continue
        told = row.figures["ours"]
        found["operations"][line.case], found["parts"][line.case] = told["operations"], told["parts"]
        found |= {"peak": told["peak"], "bandwidth": told["bandwidth"]}
        print(
            f"floors: {line.case}: {told['operations'] / 1e12:.3g} TFLOP; a plain product does "
            f"{told['peak'] / 1e12:.0f} TFLOP/s, a copy {told['bandwidth'] / 1e12:.2g} TB/s",
            flush=True,
        )
    return found


def largest_batches(options: Options, take: Take) -> dict[str, Any]:
    """The largest batch of each side."""
    found: dict[str, Any] = {}
    for network in options.networks:
        data = options.data(network.frame, PAIRS)
        jobs = options.jobs(network, task="largest", data=data)
        (row,) = take(Measurement("gpu", jobs, 0, [Line(network.title, "batch")]))
        sizes = {side: own["largest"] for side, own in row.figures.items() if "largest" in own}
        found[network.title] = sizes
        said = [f"{side} {size}" for side, size in sizes.items()]
        said += [f"{side} failed: {reason}" for side, reason in row.failed.items()]
        print(f"largest batch: {network.title}: {', '.join(said)}", flush=True)
    return {"largest_batch": found}
