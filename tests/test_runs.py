import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from detr_diff.training.provenance import ENVIRONMENT, record_launch
from detr_diff.training.run_folder import CONFIG, METRICS, OVERRIDES
from detr_diff.training.run_status import STATUS
from detr_diff.training.status_file import StatusFile
from tests.conftest import ROOT

BEGAN = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
FIGURES = {"test/map": 0.4321, "test/map_50": 0.8765}


def begin(folder: Path, minute: int = 0, **progress: Any) -> StatusFile:
    """A run that began some minutes after noon and is at some place."""
    folder.mkdir(parents=True)
    status = StatusFile.begin(folder).status
    file = StatusFile(folder, replace(status, started=BEGAN + timedelta(minutes=minute)), None)
    file.report(force=True, **progress)
    return file


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A run of every state, a multirun, old runs, and what is no run."""
    root = tmp_path / "runs"
    place = {"stage": "all", "stage_number": 2, "stages": 3, "epoch": 24, "epochs": 120, "step": 960}
    score = {"monitor": "val/map", "mode": "max"}
    begin(root / "going", 1, **place, **score, best=0.25)
    done = begin(root / "done", 2, **score, best=0.5)
    done.finished()
    (done.path.parent / METRICS).write_text(json.dumps(FIGURES))
    (done.path.parent / ENVIRONMENT).write_text(
        json.dumps([{"git": None}, {"git": {"revision": "0123456789abcdef", "dirty": True}}])
    )
    begin(root / "broke", 3).failed(RuntimeError("the loss is nan\nin batch 3"))
    begin(root / "waits", 4, monitor="val/loss", mode="min", best=2.0).stopped("SIGTERM")
    for job, best in ((2, 3.0), (10, 1.0)):
        begin(root / f"sweep/{job}", 5, monitor="val/loss", mode="min", best=best).finished()
        (root / f"sweep/{job}" / OVERRIDES).write_text(f"seed={job}\ndata.diff=abs\n")
    (root / "sweep/sweep.csv").write_text("job\n")
    for name in ("old", "old_unfinished"):
        (root / name / "checkpoints").mkdir(parents=True)
        (root / name / CONFIG).write_text("seed: 0\n")
        os.utime(root / name / CONFIG, (0, BEGAN.timestamp() - 3600))
    (root / "old" / METRICS).write_text(json.dumps({"val/map": None, "val/map_50": 0.125}))
    (root / "notes/figures").mkdir(parents=True)
    (root / ".hidden").mkdir()
    (root / "a file").write_text("")
    return root


def table(out: str) -> dict[str, list[str]]:
    """Run to the other cells of its row."""
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines() if "│" in line]
    return {row[0]: row[1:] for row in rows}


def test_every_run_has_a_row(runs: Path, cli: Callable) -> None:
    result = cli("runs", f"runs={runs}")
    assert result.code == 0
    found = table(result.out)
    began = (BEGAN + timedelta(minutes=1)).astimezone()
    place = ["2 of 3: all", "24/120", "960", "val/map=0.25"]
    assert found["going"][:8] == ["running", *place, "", "", f"{began:%Y-%m-%d %H:%M}"]
    assert found["done"][0] == "finished"
    assert found["done"][5:7] == ["0.876", "0.432"]
    assert found["done"][9] == "0123456*"
    assert found["sweep/2"][0] == found["sweep/10"][0] == "finished"
    assert found["broke"][0] == "failed"
    assert found["waits"][0] == "stopped"
    assert found["old"][0] == "finished"
    assert found["old"][5:7] == ["0.125 val", ""]
    assert found["old_unfinished"][0] == "unknown"
    assert "\nbroke: failed: RuntimeError: the loss is nan\n" in result.out
    assert "\nwaits: stopped: by SIGTERM; resume=true goes on\n" in result.out
    assert "\nnot runs: notes\n" in result.out
    assert "\n* the code had changes" in result.out


def test_the_order_is_as_asked(runs: Path, cli: Callable) -> None:
    def order(*words: str) -> list[str]:
        return list(table(cli("runs", f"runs={runs}", *words).out))

    newest = ["sweep/10", "sweep/2", "waits", "broke", "done", "going", "old_unfinished", "old"]
    assert order() == order("sort=started") == newest
    assert order("sort=name") == [
        "broke",
        "done",
        "going",
        "old",
        "old_unfinished",
        "sweep/2",
        "sweep/10",
        "waits",
    ]
    # The lowest loss, the highest average precision, then those without either.
    assert order("sort=best") == [
        *("sweep/10", "waits", "sweep/2", "done", "going"),
        *("broke", "old", "old_unfinished"),
    ]


def test_a_state_is_chosen(runs: Path, cli: Callable) -> None:
    result = cli("runs", f"runs={runs}", "state=failed")
    assert list(table(result.out)) == ["broke"]
    assert "RuntimeError" in result.out
    assert "SIGTERM" not in result.out
    assert f"none of 8 runs in {runs} is killed" in cli("runs", f"runs={runs}", "state=killed").out
    wrong = cli("runs", f"runs={runs}", "state=fnished")
    assert wrong.code == 2
    assert "expected one of [running, finished, failed, stopped, killed, unknown]" in wrong.err


def test_a_killed_run_is_shown_as_killed(tmp_path: Path, cli: Callable) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from detr_diff.training.status_file import StatusFile\n"
        "StatusFile.begin(Path(sys.argv[1])).report(force=True, step=5)\n"
        "print('begun', flush=True); time.sleep(60)"
    )
    (tmp_path / "one").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "one")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stdout.readline() == b"begun\n"
    assert table(cli("runs", f"runs={tmp_path}").out)["one"][0] == "running"
    process.send_signal(signal.SIGKILL)
    process.wait()
    result = cli("runs", f"runs={tmp_path}", "state=killed")
    assert table(result.out)["one"][3] == "5"
    assert "one: killed: last heartbeat" in result.out
    assert "resume=true goes on" in result.out


def test_a_process_that_has_been_silent_for_long_is_told(tmp_path: Path, cli: Callable) -> None:
    file = begin(tmp_path / "one")
    content = json.loads(file.path.read_text())
    file.path.write_text(json.dumps(content | {"heartbeat": BEGAN.isoformat()}))
    result = cli("runs", f"runs={tmp_path}")
    assert table(result.out)["one"][0] == "running"
    assert f"one: running: its process {os.getpid()} lives, but last heartbeat" in result.out


def test_the_csv_holds_all(runs: Path, tmp_path: Path, cli: Callable) -> None:
    out = tmp_path / "new/table.csv"
    result = cli("runs", f"runs={runs}", f"out={out}", "sort=name")
    assert f"written: {out}" in result.out
    rows = {row["run"]: row for row in csv.DictReader(out.open())}
    assert len(rows) == 8
    assert rows["going"] | {"stage": "all", "epoch": "24", "epochs": "120", "best": "0.25"} == rows["going"]
    assert datetime.fromisoformat(rows["going"]["started"]) == BEGAN + timedelta(minutes=1)
    assert rows["done"]["revision"] == "0123456789abcdef"
    assert (rows["done"]["dirty"], rows["old"]["dirty"]) == ("True", "")
    assert float(rows["done"]["map_50"]) == FIGURES["test/map_50"]
    assert rows["broke"]["error"] == "RuntimeError: the loss is nan"
    assert rows["waits"]["signal"] == "SIGTERM"
    assert rows["sweep/10"]["overrides"] == "seed=10 data.diff=abs"
    assert Path(rows["done"]["folder"]) == runs / "done"

    before = out.read_bytes()
    again = cli("runs", f"runs={runs}", f"out={out}")
    assert again.code == 2
    assert f"out={out}: exists and is never overwritten" in again.err
    assert out.read_bytes() == before


def test_what_is_broken_is_named_and_stops_nothing(runs: Path, cli: Callable) -> None:
    for name in (STATUS, METRICS, ENVIRONMENT):
        folder = runs / f"broken_{name.partition('.')[0]}"
        begin(folder, 9).finished()
        (folder / METRICS).write_text(json.dumps(FIGURES))
        (folder / ENVIRONMENT).write_text("[]")
        (folder / name).write_text('{"state": ')
    (runs / "binary").mkdir()
    (runs / "binary" / STATUS).write_bytes(b"\xff\xfe\x00")
    (runs / "[bold]").mkdir()
    (runs / "[bold]" / STATUS).symlink_to("nowhere")
    (runs / "[bold]" / CONFIG).write_text("")
    result = cli("runs", f"runs={runs}")
    assert result.code == 0
    found = table(result.out)
    assert len(found) == 8 + 5
    lines = [line for line in result.out.splitlines() if line.startswith("broken: ")]
    assert len(lines) == 4
    for name in (STATUS, METRICS, ENVIRONMENT):
        assert sum(f"/{name}: not readable (" in line for line in lines) == 1 + (name == STATUS)
    assert found["broken_status"][0] == found["broken_metrics"][0] == "finished"
    assert found["binary"][0] == found["[bold]"][0] == "unknown"


def test_links_in_circles_are_walked_once(runs: Path, cli: Callable) -> None:
    (runs / "notes/up").symlink_to(runs)
    (runs / "a_link").symlink_to(runs / "notes")
    (runs / "best").symlink_to(runs / "done")
    other = runs.parent / "other"
    begin(other / "run")
    (runs / "more").symlink_to(other)
    found = list(table(cli("runs", f"runs={runs}", "sort=name").out))
    assert len(found) == 9
    assert {"done", "more/run"} <= set(found)


def test_one_run_or_one_sweep_can_be_asked_for(runs: Path, cli: Callable) -> None:
    assert list(table(cli("runs", f"runs={runs}/done").out)) == ["done"]
    assert list(table(cli("runs", f"runs={runs}/sweep").out)) == ["10", "2"]
    result = cli("runs", f"runs={runs}/notes")
    assert result.code == 0
    assert f"no runs in {runs}/notes" in result.out
    result = cli("runs", f"runs={runs}/nothing")
    assert (result.code, f"runs={runs}/nothing: no such folder" in result.err) == (2, True)


def test_a_launch_of_this_checkout_shows_its_revision(tmp_path: Path, cli: Callable) -> None:
    begin(tmp_path / "one").finished()
    record_launch(tmp_path / "one")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert table(cli("runs", f"runs={tmp_path}").out)["one"][9].rstrip("*") == head.stdout[:7]


def test_the_table_is_there_without_torch(runs: Path) -> None:
    code = (
        "import sys; from detr_diff.cli import main\n"
        f"code = main(['runs', 'runs={runs}'])\n"
        "heavy = ('torch', 'lightning', 'transformers', 'matplotlib', 'numpy', 'cv2', 'wandb', 'scipy')\n"
        "loaded = [name for name in heavy if name in sys.modules]\n"
        "assert not loaded, loaded\n"
        "sys.exit(code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert len(table(result.stdout)) == 8
