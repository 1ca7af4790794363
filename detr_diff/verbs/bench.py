"""`detr-diff bench`: ours against the transformers Trainer, in turns on this machine."""

import platform
import re
import sys
from importlib.metadata import version
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

import torch
from omegaconf import DictConfig

from detr_diff.bench import commands
from detr_diff.bench.cases import PARTS, Options, same_loss, weights
from detr_diff.bench.choices import BenchDevice, BenchPart, Reference
from detr_diff.bench.device import Utilisation
from detr_diff.bench.figure import draw_curves, draw_ratios
from detr_diff.bench.gpu import largest_batches, step_floors
from detr_diff.bench.measurement import Measurement, Row, measure
from detr_diff.bench.result import Result
from detr_diff.bench.scaling import Scaling
from detr_diff.bench.side import Failed, Sides
from detr_diff.compose import plain
from detr_diff.data.new_folder import numbered_folder
from detr_diff.errors import SettingError
from detr_diff.text import render
from detr_diff.training.provenance import environment

OURS = (sys.executable, "-m", "detr_diff.verbs.measured_side")
SHORT = {"turns": 1, "pairs": 4, "accumulate": 2, "epochs": 2}  # what short=true makes of these
MANY = ("weights", "loss", "loading")  # a process does many of these: memory is not measured there
WIDTH = 150  # of a table


def run(settings: DictConfig) -> int:
    """Measure the parts; 1 when a side failed or the sides do not compute the same."""
    device = _device(settings)
    name = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
    machine = environment()
    title = name if device == "cuda" else str(machine["cpu"]["name"])
    folder_name = re.sub(r"\W+", "-", title).strip("-").lower()
    numbered = numbered_folder(settings.out, Path("benchmarks"), folder_name)
    with numbered as (out, folder), TemporaryDirectory() as scratch:
        machine["packages"]["accelerate"] = version("accelerate")
        # Not where it lies: a result is read elsewhere.
        chosen = {k: v for k, v in plain(settings).items() if k not in ("out", "reference", "debug")}
        result = Result(title, machine, chosen)
        bench = Bench(settings, device, Path(scratch), folder, result)
        stopped: BaseException | None = None
        try:
            bench.measure()
        except (Exception, KeyboardInterrupt) as error:
            # Hours may lie behind it.
            if not (result.rows or result.curves or result.gpu):
                raise
            stopped = error
        finally:
            bench.sides.close()
        bench.write()
        if not bench.failed:
            rmtree(bench.sides.logs, ignore_errors=True)  # without a side there are none
        if any(row.ratios for row in result.rows):
            draw_ratios(folder / "bench.png", result.rows, title)
        if result.curves:
            draw_curves(folder / "scaling.png", result.curves, title)
        for table in result.tables():
            print(render(table, WIDTH))
        for remark in result.remarks():
            print(remark)
    print(f"written to {out}")
    if stopped is not None:
        raise stopped
    return int(any(row.failed for row in result.rows) or not all(result.same_loss().values()))


class Bench:
    """Measures what the settings ask for.

    Args:
        settings: See conf/bench.yaml.
        device: cpu or cuda.
        scratch: For data and weights.
        folder: Of the result, which is written anew after every row, and of what the sides say, which
            stays there when one fails.
        result: Gets what is found.
    """

    def __init__(
        self, settings: DictConfig, device: str, scratch: Path, folder: Path, result: Result
    ) -> None:
        self.settings = settings
        self.result = result
        self.scratch = scratch
        self.folder = folder
        self.failed = False
        chosen = {key: SHORT[key] if settings.short else settings[key] for key in SHORT}
        default = [Reference.plain, Reference.tuned] if device == "cuda" else [Reference.plain]
        references = settings.references or default
        self.options = Options(
            scratch=scratch,
            device=device,
            references=[str(name) for name in references],
            tuned=plain(settings)["tuned"],
            overrides=list(settings.ours),
            batch_size=settings.batch_size,
            short=settings.short,
            threads=settings.threads,
            **chosen,
        )
        reference = (sys.executable, str(Path(settings.reference).absolute()))
        sides = {**{str(name): reference for name in Reference}, "ours": OURS}
        self.sides = Sides(sides, folder / "logs")

    def measure(self) -> None:
        """All parts, in the order of the table."""
        parts, options = list(self.settings.parts), self.options
        limits = {BenchPart.floors: step_floors, BenchPart.largest: largest_batches}
        if any(part in parts for part in (*PARTS, *limits, BenchPart.startup)):
            for network in options.networks:
                self._take(weights(options, network))
            for measurement in same_loss(options):
                self._compare(measurement)
        for limit, examine in limits.items():
            if limit in parts and options.device == "cuda":
                self.result.gpu |= examine(options, self._take)
                self.write()
        for part, measurements in PARTS.items():
            for measurement in measurements(options) if part in parts else ():
                self._show(self._take(measurement))
        if BenchPart.startup in parts:
            self._show([self._startup()])
        if BenchPart.help in parts:
            self._show(commands.answers(options.turns))
        if BenchPart.scaling in parts:
            for curve in Scaling(options, self.sides).curves():
                self.result.curves.append(curve)
                self.write()

    def _take(self, measurement: Measurement) -> list[Row]:
        watch = Utilisation if self.options.device == "cuda" else None
        fresh = measurement.part not in MANY and not self.options.short
        if fresh:
            self.sides.close()
        rows = measure(measurement, self.sides.start, watch)
        failed = any(row.failed for row in rows)
        self.failed |= failed
        if fresh or failed:
            self.sides.close()
        return rows

    def write(self) -> None:
        """What is there so far."""
        self.result.write(self.folder / "bench.json")

    def _compare(self, measurement: Measurement) -> None:
        (row,) = self._take(measurement)
        sides = {side: row.figures[side] for side in row.figures if "loss" in row.figures[side]}
        self.result.losses[row.case] = {side: figures["loss"] for side, figures in sides.items()}
        self.result.pixels[row.case] = {side: figures["pixels"] for side, figures in sides.items()}

    def _show(self, rows: list[Row]) -> None:
        self.result.rows += rows
        self.write()
        for row in rows:
            measured = {side: row.median(side) for side in row.seconds}
            medians = ", ".join(f"{side} {value:.3g} s" for side, value in measured.items() if value)
            ratios = "".join(f", {ratio:.1f} times {name}" for name, ratio in row.ratios.items())
            failed = "".join(f", {side} failed: {reason}" for side, reason in row.failed.items())
            print(f"{row.part}: {row.case}: {medians}{ratios}{failed}", flush=True)

    def _startup(self) -> Row:
        """The first step of the demo: real commands, each in a new process."""
        options = self.options
        row = Row("startup", "command to first step of the demo", "start", None)
        pairs = 60 if options.short else 2000
        data = commands.demo_data(self.scratch / "demo", pairs)
        network = options.networks[-1]
        job = options.job(network, data=str(data), batch_size=4)
        words = [
            "experiment=demo",
            f"data.root={data}",
            f"trainer.accelerator={'cpu' if options.device == 'cpu' else 'gpu'}",
            "debug=true",  # a traceback goes into the log
            *options.overrides,
            "data.cache=off",  # to fill one is no start, and it would stay
        ]
        self.sides.logs.mkdir(exist_ok=True)
        for turn in range(options.turns):
            for side in ("plain", "ours"):
                log = self.sides.logs / f"startup_{side}.log"
                try:
                    if side == "ours":
                        seconds = commands.first_step(words, self.scratch / f"runs_{turn}", log)
                    else:
                        seconds = commands.reference_first_step(self.sides.commands[side], job, log)
                    row.seconds.setdefault(side, []).append(seconds)
                except Failed as error:
                    row.failed[side], self.failed = str(error), True
        row.compare()
        return row


def _device(settings: DictConfig) -> str:
    there = torch.cuda.is_available()
    if settings.device is BenchDevice.cuda and not there:
        raise SettingError("device=cuda: there is none")
    return "cuda" if there and settings.device is not BenchDevice.cpu else "cpu"
