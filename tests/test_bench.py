"""The benchmark: turns, ratios, and the whole of it in tiny sizes, whose times are not judged."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from detr_diff.bench import commands
from detr_diff.bench.cases import TINY, Options
from detr_diff.bench.floors import floors, parts
from detr_diff.bench.measurement import Line, Measurement, Row, measure
from detr_diff.bench.result import Result
from detr_diff.bench.side import Sides
from detr_diff.bench.turns import Turns
from detr_diff.model.load import load_model
from detr_diff.training.compilation import compile_model
from detr_diff.verbs import bench, measured_side
from detr_diff.verbs.measured_training import Training
from tests.conftest import ROOT
from tests.model.tiny_models import FAMILIES

REFERENCE = ROOT / "experiments/speed/reference.py"
# A side that says after each turn what its job told it to.
ECHO = (
    sys.executable,
    "-c",
    "import json, sys\n"
    "job = json.loads(sys.stdin.readline())\n"
    "print(json.dumps({'pixels': job['pixels']}), flush=True)\n"
    "for seconds in job['seconds']:\n"
    "    sys.stdin.readline()\n"
    "    assert seconds, 'no time'\n"
    "    print(json.dumps({'seconds': seconds, 'cpu': 1.0}), flush=True)\n",
)


def taken(folder: Path, plain: Sequence[float], ours: Sequence[float], line: Line) -> Row:
    jobs = {"plain": {"seconds": plain, "pixels": [4, 8]}, "ours": {"seconds": ours, "pixels": [4, 8]}}
    sides = Sides({"plain": ECHO, "ours": ECHO}, folder)
    try:
        (row,) = measure(Measurement("step", jobs, 3, [line]), sides.start)
    finally:
        sides.close()
    return row


def test_the_times_of_one_turn_are_compared(tmp_path: Path) -> None:
    # A busy machine slows a turn of both sides down, not their ratio.
    row = taken(tmp_path, [2.0, 20.0, 3.0], [1.0, 10.0, 1.0], Line("case", "step"))
    assert row.ratios == {"plain": 2.0}
    assert row.median("plain") == 3.0
    assert row.figures["ours"] == {"pixels": [4, 8]}


def test_a_stage_is_compared_with_as_many_epochs(tmp_path: Path) -> None:
    row = taken(tmp_path, [2.0, 2.0, 2.0], [4.0, 4.0, 4.0], Line("case", "stage", times=20))
    assert row.ratios == {"plain": 10.0}
    assert row.cpu_ratios == {"plain": 20.0}


def test_a_side_that_fails_is_left_out_and_told(tmp_path: Path) -> None:
    row = taken(tmp_path, [2.0, 0, 2.0], [1.0, 1.0, 1.0], Line("case", "step"))
    assert row.failed == {"plain": "AssertionError: no time"}
    assert row.seconds == {"ours": [1.0, 1.0, 1.0]}
    assert row.ratios == {}


def test_what_is_not_the_same_is_said() -> None:
    result = Result("cpu", {}, {})
    result.losses = {"a": {"plain": 5.0, "ours": 5.001}, "b": {"plain": 5.0, "ours": 5.1}}
    result.losses["c"] = {"plain": 5.0, "ours": 5.0}
    result.pixels = {name: {"plain": [8, 8], "ours": [8, 8]} for name in "abc"}
    result.pixels["c"]["ours"] = [8, 16]
    assert result.same_loss() == {"a": True, "b": False, "c": False}
    row = Row("step", "case", "step", 1)
    row.figures = {"plain": {"pixels": [8, 8]}, "ours": {"pixels": [8, 16]}}
    result.rows = [row]
    assert any("NOT THE SAME SIZE" in remark for remark in result.remarks())


@pytest.mark.parametrize("compiled", [False, True])
def test_the_parts_of_a_step_make_the_whole(compiled: bool) -> None:
    model, _, _ = load_model("detr", ["a", "b"], config=FAMILIES["detr"])
    model.requires_grad_(True)
    if compiled:
        compile_model(model, "eager")
    images = torch.rand(1, 3, 64, 64)
    labels = [{"boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]]), "class_labels": torch.tensor([1])}]
    before = [p.clone() for p in model.parameters()]
    found = floors(
        model, lambda: model(pixel_values=images, labels=labels).loss, nullcontext, peak=1e9, bandwidth=1e9
    )
    by_name = {floor.part: floor for floor in found}
    assert set(parts(model)) - set(by_name) == {"model.query_position_embeddings"}  # it is not called
    forward = sum(floor.operations for floor in found if floor.part != "backward")
    # Each product of the forward pass has two in the backward pass, but the first convolution,
    # a large share of so small a model, only one.
    assert forward < by_name["backward"].operations <= 2 * forward
    assert by_name["model.backbone"].bytes > images.numel() * 4
    assert by_name["optimizer"].bytes == 7 * 4 * sum(p.numel() for p in model.parameters())
    assert all(floor.by_operations == floor.operations / 1e9 for floor in found)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("reference=none.py", "reference=none.py: no such file"),
        ("turns=0", "turns=0: at least 1"),
        ("ours=[data.numworkers=2]", "data.numworkers: unknown setting, did you mean data.num_workers"),
        ("device=cud", "device=cud: Invalid value 'cud', expected one of [auto, cpu, cuda]"),
        ("parts=[steps]", "parts"),
    ],
)
def test_a_mistake_is_told_before_anything_is_measured(
    word: str, message: str, cli: Callable, tmp_path: Path
) -> None:
    words = ["bench", f"out={tmp_path / 'out'}", *([] if "reference" in word else [f"reference={REFERENCE}"])]
    result = cli(*words, word)
    assert result.code == 2
    assert message in result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.exhaustive
def test_a_short_benchmark_fills_every_row(
    cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the reference is then found by its path alone
    words = ["bench", "short=true", "device=cpu", f"out={tmp_path / 'out'}", f"reference={REFERENCE}"]
    parts = "parts=[loading,step,epoch,validation,predict,startup,help,scaling]"
    result = cli(*words, parts)
    assert result.code == 0, result.err
    assert "same loss: tiny DETR" in result.out
    content = json.loads((tmp_path / "out/bench.json").read_text())
    assert content["same_loss"] == {"tiny DETR": True}
    assert {row["part"] for row in content["rows"]} == {
        "loading",
        "step",
        "epoch",
        "validation",
        "predict",
        "startup",
        "help",
    }
    for row in content["rows"]:
        assert not row["failed"]
        assert row["median"]["ours"] > 0
        assert row["part"] == "help" or row["ratios"]["plain"] > 0
    assert len(content["curves"]) == 8
    assert str(tmp_path) not in json.dumps(content)
    assert "gpu" not in content
    assert (tmp_path / "out/bench.png").exists()
    assert (tmp_path / "out/scaling.png").exists()
    assert not (tmp_path / "out/logs").exists()
    again = cli(*words)
    assert again.code == 2
    assert "never overwritten" in again.err


@pytest.mark.exhaustive
def test_what_a_failing_side_said_stays(cli: Callable, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise ValueError('broken')\n")
    words = ["short=true", "device=cpu", "parts=[loading]", f"reference={tmp_path / 'broken.py'}"]
    result = cli("bench", *words, f"out={tmp_path / 'out'}")
    assert result.code == 1
    assert "plain failed: ValueError: broken" in result.out
    assert "ValueError: broken" in (tmp_path / "out/logs/plain.log").read_text()
    (first, *_) = json.loads((tmp_path / "out/bench.json").read_text())["rows"]
    assert first["median"]["ours"] > 0


def test_what_was_measured_before_a_stop_stays(
    tmp_path: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure_some(self: bench.Bench) -> None:
        self._show(commands.answers(1))
        raise KeyboardInterrupt

    monkeypatch.setattr(bench.Bench, "measure", measure_some)
    words = ["bench", "short=true", "device=cpu", f"out={tmp_path / 'out'}", f"reference={REFERENCE}"]
    stopped = cli(*words)
    assert (stopped.code, "interrupted" in stopped.err) == (130, True)
    assert len(json.loads((tmp_path / "out/bench.json").read_text())["rows"]) == 3
    # Before anything is measured nothing is left, and the name is free.
    monkeypatch.setattr(commands, "answers", lambda turns: [])
    assert cli(*(word.replace("/out", "/other") for word in words)).code == 130
    assert not (tmp_path / "other").exists()


def test_nothing_is_built_while_the_other_side_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage is trained anew in each turn; its model was built in the turns of the reference once."""
    events: list[str] = []

    class Heard(Turns):
        def __init__(self) -> None:
            super().__init__(wait=False)

        def begin(self) -> None:
            events.append("begin")
            super().begin()

        def end(self, **figures: object) -> None:
            events.append("end")

        def ready(self, **facts: object) -> None:
            events.append("ready")

    class Built(Training):
        def __init__(self, *given: Any) -> None:
            events.append("built")
            super().__init__(*given)

    monkeypatch.setattr(measured_side, "Training", Built)
    options = Options(tmp_path, "cpu", ["plain"], {}, [], 2, 4, 2, 1, 2, True, 1)
    job = options.job(TINY, data=options.data(TINY.frame, 4), stage=1, unit="stage", epochs=2, weights=None)
    output = os.dup(1)
    try:
        measured_side.fit(job, Heard(), tmp_path)
    finally:
        os.dup2(output, 1)  # where turns are told, nothing else is printed
    assert events == ["built", "ready", "begin", "built", "end", "begin", "built", "end"]
