"""What is measured: the parts of the benchmark as measurements."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detr_diff.bench.material import halve, write_pairs, write_predictions
from detr_diff.bench.measurement import Line, Measurement
from detr_diff.choices import Cache

Frame = tuple[int, int]  # width and height
# Steps of a turn, and before the first: so many until a compiler has seen all shapes. A GPU's are short.
STEPS, WARM = {"cpu": 2, "cuda": 30}, {"cpu": 4, "cuda": 10}
# Over the samples, in a turn of loading; a few milliseconds alone would be what else the machine does.
PASSES, WARM_PASSES = 4, 64
PREDICTIONS = 100  # of an image, where metrics are measured alone


@dataclass(frozen=True)
class Network:
    """A model to measure with.

    Attributes:
        title: In the table.
        model: A file in conf/model/.
        batch_norm: As with pretrained weights, or as with random ones.
        size: Of its images, where they are not said otherwise.
        frame: Of frames that need no resizing for that.
    """

    title: str
    model: str
    batch_norm: str
    size: Mapping[str, int]
    frame: Frame


RESNET50 = Network(
    "DETR-R50", "detr_resnet50", "frozen", {"shortest_edge": 480, "longest_edge": 640}, (640, 480)
)
DEMO = Network("demo model", "rt_detr_small", "live", {"height": 128, "width": 160}, (160, 128))
TINY = Network("tiny DETR", "detr_tiny", "frozen", {"shortest_edge": 72, "longest_edge": 96}, (96, 72))


@dataclass(frozen=True)
class Options:
    """What the user chose.

    Attributes:
        scratch: Where data, weights and predictions go.
        device: cpu or cuda.
        references: plain, tuned or both.
        tuned: Flags of the transformers Trainer.
        overrides: Settings of train for our side.
        turns: Of each side.
        pairs: Of the data set that epochs run over.
        batch_size: Pairs in a batch.
        accumulate: Batches of an optimizer step.
        epochs: Of a whole stage 1.
        short: Tiny sizes.
        threads: Of torch, for each side; None: as the environment says.
    """

    scratch: Path
    device: str
    references: Sequence[str]
    tuned: Mapping[str, Any]
    overrides: Sequence[str]
    turns: int
    pairs: int
    batch_size: int
    accumulate: int
    epochs: int
    short: bool
    threads: int | None = None

    @property
    def network(self) -> Network:
        """The large model."""
        return TINY if self.short else RESNET50

    @property
    def networks(self) -> list[Network]:
        """All models."""
        return [TINY] if self.short else [RESNET50, DEMO]

    def data(self, frame: Frame, pairs: int, suffix: str = ".png") -> str:
        """A data set with such frames."""
        name = f"data_{frame[0]}x{frame[1]}_{pairs}{suffix.replace('.', '_')}"
        return str(write_pairs(self.scratch / name, pairs, frame, suffix))

    def weights(self, network: Network) -> Path:
        """Where the weights of a model are."""
        return self.scratch / f"weights_{network.model}"

    def job(self, network: Network, **changed: Any) -> dict[str, Any]:
        """What both sides are told."""
        return {
            "model": network.model,
            "batch_norm": network.batch_norm,
            "weights": str(self.weights(network)),
            "size": dict(network.size),
            "batch_size": self.batch_size,
            "accumulate": self.accumulate,
            "stage": 2,
            "unit": "epoch",
            "steps": STEPS[self.device],
            "warm": WARM[self.device],
            "turns": self.turns,
            "device": self.device,
            "out": str(self.scratch),
            "flags": {},
            "overrides": list(self.overrides),
            "threads": self.threads,
            **changed,
        }

    def jobs(self, network: Network, **changed: Any) -> dict[str, dict[str, Any]]:
        """The job of each side."""
        job = self.job(network, **changed)
        flags = {"plain": {}, "tuned": dict(self.tuned)}
        return {
            **{n: {**job, "flags": flags[n], "out": str(self.scratch / n)} for n in self.references},
            "ours": job,
        }


def weights(options: Options, network: Network) -> Measurement:
    """Weights as the hub would give them, made by our side for both; nothing is measured."""
    small = {"shortest_edge": 240, "longest_edge": 320} if network is RESNET50 else dict(network.size)
    job = options.job(
        network,
        task="weights",
        data=options.data(network.frame, 4),
        size=small,
        out=str(options.weights(network)),
    )
    return Measurement("weights", {"ours": job}, 0, [])


def same_loss(options: Options) -> Iterator[Measurement]:
    """The loss of one batch with the same weights, frames that need no resizing; of plain and ours."""
    if "plain" not in options.references:
        return
    for network in options.networks:
        data = options.data(network.frame, max(4, options.batch_size))
        jobs = options.jobs(network, task="loss", data=data)
        jobs = {name: job for name, job in jobs.items() if name != "tuned"}
        # The same images; and whatever the precision of the training: rounding is no other loss.
        own = (f"data.eval_batch_size={options.batch_size}", "trainer.precision=32-true", "compile=null")
        jobs["ours"] = {**jobs["ours"], "overrides": [*options.overrides, *own]}
        yield Measurement("loss", jobs, 1, [Line(network.title, "loss", key="loss")])


def loading(options: Options) -> Iterator[Measurement]:
    """Samples one after the other, without a cache and with a warm one."""
    kinds = {"1920x1080 PNG": ((1920, 1080), ".png"), "1920x1080 JPEG": ((1920, 1080), ".jpg")}
    kinds["480x360 PNG"] = ((480, 360), ".png")
    if options.short:
        kinds = {"96x72 PNG": ((96, 72), ".png")}
    size = options.network.size if options.short else {"shortest_edge": 800, "longest_edge": 1333}
    for name, (frame, suffix) in kinds.items():
        data = options.data(frame, min(options.pairs, 8), suffix)
        jobs = options.jobs(
            options.network, task="loading", data=data, size=dict(size), cache=str(Cache.off), passes=PASSES
        )
        jobs.pop("tuned", None)  # one sample is the same to it
        passes = PASSES if options.short else WARM_PASSES
        jobs["ours, warm"] = {**jobs["ours"], "cache": str(Cache.disk), "passes": passes}
        lines = [
            Line(f"{name}, no cache", "sample", 1, key="normalised"),
            Line(f"{name}, warm cache", "sample", 1, side="ours, warm", key="loaded"),
            Line(f"{name}, warm cache, normalised", "sample", 1, side="ours, warm", key="normalised"),
        ]
        yield Measurement("loading", jobs, options.turns, lines)


def step(options: Options) -> Iterator[Measurement]:
    """Forward, backward and optimizer, without loading."""
    cases = [(network, network.size, network.frame) for network in options.networks]
    if not options.short:
        # First: it is what is asked of a GPU, whose time may be short.
        cases.insert(0, (RESNET50, {"shortest_edge": 800, "longest_edge": 1333}, (1066, 800)))
    for network, size, frame in cases:
        batch_size = options.batch_size if network is not DEMO else max(4, options.batch_size)
        data = options.data(frame, max(4, 2 * batch_size))
        jobs = options.jobs(
            network, task="fit", unit="step", data=data, size=dict(size), batch_size=batch_size
        )
        case = f"{network.title} {frame[1]}x{frame[0]}, batch {batch_size}"
        yield Measurement("step", jobs, options.turns, [Line(case, "step", batch_size)])


def epoch(options: Options) -> Iterator[Measurement]:
    """Whole epochs from PNG pairs; of stage 1 the first, those that follow, and all of them."""
    network, pairs = options.network, options.pairs
    frame = network.frame if options.short else (1280, 960)
    data = options.data(frame, pairs)
    jobs = options.jobs(network, task="fit", data=data, stage=1)
    jobs["ours"] |= {"unit": "stage", "epochs": options.epochs}
    case, epochs = f"{network.title}, stage 1", options.epochs
    yield Measurement(
        "epoch",
        jobs,
        options.turns,
        [
            Line(f"{case}, first epoch", "epoch", pairs, key="first"),
            Line(f"{case}, following", "epoch", pairs, key="following"),
            Line(f"{case}, all {epochs}", "stage", epochs * pairs, times=epochs),
        ],
    )
    for stage in (2,) if options.short else (2, 3):
        jobs = options.jobs(network, task="fit", data=data, stage=stage)
        line = Line(f"{network.title}, stage {stage}", "epoch", pairs)
        yield Measurement("epoch", jobs, options.turns, [line])


def validation(options: Options) -> Iterator[Measurement]:
    """Loss, AP and P/R/F1: of the whole model, of the heads alone in stage 1, and without a model."""
    for network in options.networks:
        pairs = options.pairs if network is not DEMO else 8 * options.pairs
        jobs = options.jobs(network, task="validate", data=options.data(network.frame, pairs))
        line = Line(f"{network.title}, {pairs} pairs", "validation", pairs)
        yield Measurement("validation", jobs, options.turns, [line])
    network, pairs = options.network, options.pairs
    jobs = options.jobs(network, task="validate", data=options.data(network.frame, pairs))
    # Ours has the same number of pairs to learn from.
    jobs["ours"] |= {"task": "fit", "unit": "validation", "stage": 1}
    # Workers would load before the turn has begun.
    jobs["ours"]["overrides"] = [*options.overrides, "data.num_workers=0"]
    both = options.data(network.frame, 2 * pairs, ".jpg")  # a folder that no other case reads
    halve(Path(both))
    jobs["ours"] |= {"data": both}
    line = Line(f"{network.title}, {pairs} pairs, in stage 1", "validation", pairs)
    yield Measurement("validation", jobs, options.turns, [line])
    images = 20 if options.short else 2000
    path = str(write_predictions(options.scratch / "predictions.pt", images, PREDICTIONS))
    jobs = options.jobs(network, task="metrics", data=path)
    jobs.pop("tuned", None)
    line = Line(f"metrics alone, {images} images", "validation", images)
    yield Measurement("validation", jobs, options.turns, [line])


def predict(options: Options) -> Iterator[Measurement]:
    """From the weights on disk to boxes and pictures of all pairs."""
    network, pairs = options.network, options.pairs
    frame = network.frame if options.short else (1280, 960)
    jobs = options.jobs(network, task="predict", data=options.data(frame, pairs))
    yield Measurement(
        "predict", jobs, options.turns, [Line(f"{network.title}, {pairs} pairs", "folder", pairs)]
    )


PARTS = {"loading": loading, "step": step, "epoch": epoch, "validation": validation, "predict": predict}
