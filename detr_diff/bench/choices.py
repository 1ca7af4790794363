"""The words that the benchmark's settings choose from. Imports nothing heavy."""

from enum import StrEnum


class BenchPart(StrEnum):
    """What `detr-diff bench` measures; see bench/cases.py.

    floors: what each part of a step takes and must take; largest: the largest batch; both on a GPU alone.
    """

    loading = "loading"
    step = "step"
    epoch = "epoch"
    validation = "validation"
    predict = "predict"
    startup = "startup"
    help = "help"
    floors = "floors"
    largest = "largest"
    scaling = "scaling"


class Reference(StrEnum):
    """What ours is compared with.

    plain: the pipeline of experiments/speed/reference.py in float32; tuned: with the flags in
        conf/bench.yaml, too.
    """

    plain = "plain"
    tuned = "tuned"


class BenchDevice(StrEnum):
    """Where is measured; auto: on a GPU when there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
