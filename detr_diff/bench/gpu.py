"""What a step asks of a GPU, and how large a batch it takes."""

from collections.abc import Callable
from typing import Any

from detr_diff.bench.cases import Options, step
from detr_diff.bench.measurement import Line, Measurement, Row

PAIRS = 1024  # so many must be there for the largest batch


def examine_gpu(options: Options, take: Callable[[Measurement], list[Row]]) -> dict[str, Any]:
    """The peak of a plain bf16 product, what each step asks of it, and each side's largest batch.

    Args:
        options: What the user chose.
        take: Measures.
    """
    found: dict[str, Any] = {"operations": {}, "parts": {}, "largest_batch": {}}
    for measurement in step(options):
        (line,) = measurement.lines
        ours = {**measurement.jobs["ours"], "task": "count"}
        (row,) = take(Measurement("gpu", {"ours": ours}, 0, [Line(line.case, "step")]))
        if "ours" in row.failed:
            continue
        told = row.figures["ours"]
        found["operations"][line.case], found["parts"][line.case] = told["operations"], told["parts"]
        found |= {"peak": told["peak"], "bandwidth": told["bandwidth"]}
    for network in options.networks:
        data = options.data(network.frame, PAIRS)
        jobs = options.jobs(network, task="largest", data=data)
        (row,) = take(Measurement("gpu", jobs, 0, [Line(network.title, "batch")]))
        found["largest_batch"][network.title] = {
            side: figures["largest"] for side, figures in row.figures.items() if "largest" in figures
        }
    return found
