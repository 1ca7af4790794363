import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import wandb
import yaml

from detr_diff import sweep
from detr_diff.compose import compose
from detr_diff.training.metrics_file import read_metrics
from detr_diff.training.run_logger import build_loggers
from tests.conftest import ROOT, TINY
from tests.wandb_file import OfflineRun


def test_a_failing_job_stops_no_other(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    words = [*TINY, f"data.root={data_root}", f"runs={tmp_path}", "run_name=sweep", "trainer.max_epochs=1"]
    result = cli("train", "--multirun", *words, "data.val=0.0,0.2", "seed=1,2")
    assert result.code == 1
    sweep = tmp_path / "sweep"
    for job in ("0", "1"):
        assert "no pairs in the val split" in (sweep / job / "traceback.txt").read_text()
        assert "Traceback" in (sweep / job / "traceback.txt").read_text()
        assert not (sweep / job / "metrics.json").exists()
    rows = list(csv.DictReader((sweep / "sweep.csv").open()))
    assert [row["state"].split(":")[0] for row in rows] == ["failed", "failed", "finished", "finished"]
    for job, seed in (("2", 1), ("3", 2)):
        figures = json.loads((sweep / job / "metrics.json").read_text())
        assert float(rows[int(job)]["map"]) == round(figures["test/map"], 4)
        assert yaml.safe_load((sweep / job / "config.yaml").read_text())["seed"] == seed
        assert f"seed={seed}" in rows[int(job)]["overrides"]
        assert "trainer.max_epochs=1" in rows[int(job)]["overrides"]
    table = result.out[result.out.index(f"sweep {sweep}") :]
    assert "seed=1" in table
    assert "finished" in table
    assert "trainer.max_epochs=1" not in table  # the same in every job

    again = cli("train", "--multirun", *words, "seed=1,2")
    assert again.code == 2
    assert "never overwritten" in again.err
    # A job that failed does not become another one beside those that have results.
    other = cli("train", "--multirun", *words, "data.val=0.0,0.2", "seed=3,2", "resume=true")
    assert (other.code, "resume=true: job 0 was" in other.err) == (2, True)
    assert "seed=1" in (sweep / "0/overrides.txt").read_text()


def test_a_combination_that_is_no_job_is_named(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    words = ["stages=gradual,all", "stages.heads.lr=1e-4,1e-3", f"data.root={data_root}", f"runs={tmp_path}"]
    result = cli("train", "--multirun", "model=detr_tiny", *words)
    assert result.code == 2
    said = "the sweep did not start: stages=all stages.heads.lr=0.0001: stages.heads.lr: unknown setting"
    assert said in result.err.splitlines()[-1]
    other = cli("train", "--multirun", "model=detr_tiny", *words[2:], "ema.decay=interval(0.0,0.9)")
    assert (other.code, other.err.splitlines()[-1]) == (2, "detr-diff: the sweep did not start: see above")


def test_a_sweep_has_one_folder_whatever_its_jobs_are_called(
    data_root: Path, tmp_path: Path, cli: Callable
) -> None:
    words = [*TINY, f"data.root={data_root}", f"runs={tmp_path}", "trainer.max_epochs=1", "data.subset=4"]
    result = cli("train", "--multirun", *words, "run_name=a,b")
    assert result.code == 0, result.err
    assert [row["state"] for row in csv.DictReader((tmp_path / "a/sweep.csv").open())] == ["finished"] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
    again = cli("train", "--multirun", *words, "run_name=a,b")
    assert (again.code, "never overwritten" in again.err) == (2, True)


@pytest.mark.exhaustive
@pytest.mark.parametrize("sweep", [(), ("--multirun", "seed=1,2")])
def test_control_c_ends_it_with_a_word(sweep: tuple[str, ...], data_root: Path, tmp_path: Path) -> None:
    words = [*TINY, f"data.root={data_root}", f"runs={tmp_path}", "stages.second.epochs=500", *sweep]
    process = subprocess.Popen(
        [sys.executable, "-m", "detr_diff", "train", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        # Where a shell runs the tests in the background it is ignored by all that they start.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    folder = tmp_path / "train" / ("0" if sweep else "")
    try:
        while not (folder / "checkpoints/last.ckpt").exists():
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert (process.returncode, said.splitlines()[-1]) == (130, "detr-diff: interrupted")
    assert "Traceback" not in said
    assert json.loads((folder / "status.json").read_text())["state"] == "stopped"


@pytest.mark.exhaustive
def test_each_job_has_its_own_wandb_run(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    words = [word for word in TINY if word != "logger=csv"]
    words += [f"data.root={data_root}", f"runs={tmp_path}", "run_name=w", "trainer.max_epochs=1"]
    words += ["logger=wandb", "logger.offline=true", "logger.images=2"]
    result = cli("train", "--multirun", *words, "seed=1,2")
    assert result.code == 0, result.err
    ids: set[str] = set()
    for job in ("0", "1"):
        (folder,) = (tmp_path / "w" / job / "wandb").glob("offline-run-*")
        run = OfflineRun(folder)
        assert folder.name.endswith(f"-{run.id}")
        assert (run.name, run.group, run.exit_code) == (f"w/{job}", "w", 0)
        ids.add(run.id)
        assert run.config["seed"] == int(job) + 1
        # The curves are those of metrics.csv, and the summary is that of metrics.json.
        rows = read_metrics(tmp_path / "w" / job / "metrics.csv")
        for key in rows[0].keys() - {"step", "epoch"}:
            values = [float(row[key]) for row in rows if row[key]]
            assert run.curve(key) == pytest.approx(values, nan_ok=True), key
        final = json.loads((tmp_path / "w" / job / "metrics.json").read_text())
        for key, value in final.items():
            if value is not None:
                assert run.summary[key] == pytest.approx(value), key
        assert run.summary["final_split"] == "test"
        # Tables of numbers are inside the run folder, and so are pictures with boxes to switch on and off.
        sweep = run.table("test/score_sweep")
        assert sweep["columns"] == ["iou", "score", "precision", "recall", "f1"]
        with (tmp_path / "w" / job / "score_sweep.csv").open() as file:
            written = [[float(value) for value in row] for row in list(csv.reader(file))[1:]]
        assert np.allclose(sweep["data"], written, atol=1e-5)
        assert len(run.table("test/by_score_table")["data"]) == 3 * 91
        matrix = run.table("test/confusion_matrix_table")
        assert len(matrix["data"]) == 16
        assert {true for true, _, _ in matrix["data"]} == {"person", "car", "bicycle", "background"}
        assert sum(count for true, _, count in matrix["data"] if true != "background") > 0
        for key, most in (("val/overlays", 2), ("test/worst", 2)):
            shown = run.shown(key)
            assert 0 < shown["count"] <= most
            for picture, boxes in zip(shown["filenames"], shown["all_boxes"], strict=True):
                assert (folder / "files" / picture).stat().st_size > 0
                assert set(boxes) == {"truth", "prediction"}
                for layer in boxes.values():
                    assert (folder / "files" / layer["path"]).exists()
    assert len(ids) == 2


def test_a_resumed_run_goes_on_in_its_own_wandb_run(tmp_path: Path) -> None:
    """And no other run of the same name does."""
    settings = {"kind": "wandb", "project": "p", "entity": None, "offline": True, "images": 0}
    ids = []
    for folder in ("a", "a", "b"):
        run_dir = tmp_path / folder
        run_dir.mkdir(exist_ok=True)
        (logger,) = build_loggers(settings, {}, run_dir, "same-name", None, None)[1:]
        ids.append(logger.experiment.id)
        wandb.finish()
        time.sleep(1)  # W&B names its folders by the second
    assert ids[0] == ids[1] != ids[2]


def test_online_wandb_without_an_account_is_one_clear_line(
    data_root: Path, tmp_path: Path, cli: Callable, monkeypatch
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    words = [word for word in TINY if word != "logger=csv"]
    words += [f"data.root={data_root}", f"runs={tmp_path}", "logger=wandb"]
    result = cli("train", *words)
    assert result.code == 1
    assert "logger.offline=true needs neither network nor account" in result.err
    assert "Traceback" not in result.err


def test_a_sweep_is_resumed_as_it_was(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    words = [*TINY, f"data.root={data_root}", f"runs={tmp_path}", "trainer.max_epochs=1", "data.subset=4"]
    begun = cli("train", "--multirun", *words, "run_name=s", "seed=1,2")
    assert begun.code == 0, begun.err
    kept = (path for path in (tmp_path / "s").rglob("*") if path.is_file())
    before = {path: path.read_bytes() for path in kept if path.name != "multirun.yaml"}  # of Hydra
    other = cli("train", "--multirun", *words, "run_name=s", "seed=2,3", "resume=true")
    assert other.code == 2
    assert "resume=true: job 0 was" in other.err
    assert "begin another sweep" in other.err
    assert {path: path.read_bytes() for path in before} == before
    same = cli("train", "--multirun", *words, "run_name=s", "seed=1,2", "resume=true")
    assert same.code == 0, same.err
    single = cli("train", *words, "run_name=s", "seed=1", "resume=true")
    assert (single.code, "s is a sweep, --multirun goes on with it" in single.err) == (2, True)
    # Fewer jobs than before: the others are no longer part of it.
    (tmp_path / "s/1/traceback.txt").write_text("Error: of then")
    fewer = cli("train", "--multirun", *words, "run_name=s", "seed=1", "resume=true")
    assert fewer.code == 0, fewer.err
    assert "jobs of an earlier sweep with other values, not in the table: 1" in fewer.out
    assert [row["job"] for row in csv.DictReader((tmp_path / "s/sweep.csv").open())] == ["0"]
    (tmp_path / "s/1/traceback.txt").unlink()
    # A single job, which the table of the sweep had as unfinished.
    (tmp_path / "s/0/metrics.json").unlink()
    alone = cli("train", *words, "run_name=s/0", "seed=1", "resume=true")
    assert alone.code == 0, alone.err
    assert (tmp_path / "s/0/metrics.json").exists()
    # What is refused leaves nothing in a run that has finished.
    refused = cli("train", *words, "run_name=s/0", "seed=9", "resume=true")
    assert (refused.code, "was 1, now 9" in refused.err) == (2, True)
    assert not list(tmp_path.rglob("traceback.txt"))


def test_a_sweep_over_data_keeps_its_jobs_apart(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    """The data of a run may be moved, but what is swept tells one job from another."""
    words = [*TINY, f"runs={tmp_path}", "run_name=s", "trainer.max_epochs=1", "data.subset=4"]
    for name in "ab":
        (tmp_path / name).symlink_to(data_root)
    assert cli("train", "--multirun", *words, f"data.root={tmp_path}/a,{tmp_path}/b").code == 0
    other = cli("train", "--multirun", *words, f"data.root={tmp_path}/b,{tmp_path}/a", "resume=true")
    assert (other.code, "resume=true: job 0 was" in other.err) == (2, True)
    assert f"data.root={tmp_path}/a" in (tmp_path / "s/0/overrides.txt").read_text()


def test_a_finished_run_is_left_alone(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    words = [*TINY, f"data.root={data_root}", f"runs={tmp_path}", "trainer.max_epochs=1", "data.subset=4"]
    assert cli("train", *words, "run_name=r").code == 0
    refused = cli("train", *words, "run_name=r", "seed=9", "resume=true")
    assert (refused.code, "was 0, now 9" in refused.err) == (2, True)
    assert not (tmp_path / "r/traceback.txt").exists()
    inside = cli("train", *words, "run_name=r/b")
    assert (inside.code, "r is a run, which holds no others" in inside.err) == (2, True)
    assert not (tmp_path / "r/b").exists()
    sweep = cli("train", "--multirun", *words, "run_name=r", "seed=1,2", "resume=true")
    assert (sweep.code, "r is a run, which holds no others" in sweep.err) == (2, True)


def test_a_sweep_that_failed_is_begun_again_with_other_values(
    data_root: Path, tmp_path: Path, cli: Callable
) -> None:
    words = [*TINY, f"data.root={data_root}", f"runs={tmp_path}", "trainer.max_epochs=1", "data.subset=4"]
    failed = cli("train", "--multirun", *words, "run_name=s", "data.val=0.0", "seed=1,2")
    assert failed.code == 1
    again = cli("train", "--multirun", *words, "run_name=s", "seed=3,4")
    assert again.code == 0, again.err
    assert "seed=3" in (tmp_path / "s/0/overrides.txt").read_text()


def test_the_traceback_is_that_of_the_process_that_failed_first(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Second:
        """The training of a process whose peer has gone."""

        @staticmethod
        def train(settings: object, folder: Path, *_: object) -> float:
            (folder / "traceback.txt").write_text("OSError: a.png")  # of the other one
            raise RuntimeError("connection closed by peer")

    monkeypatch.setattr(sweep, "module_of", lambda verb: Second)
    with pytest.raises(RuntimeError, match="closed by peer"):
        sweep.guarded(compose("train", [f"data.root={data_root}"]), tmp_path, None)
    assert (tmp_path / "traceback.txt").read_text() == "OSError: a.png"
