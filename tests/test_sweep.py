import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import TINY


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
    assert f"sweep {sweep}" in result.out
    assert "finished" in result.out

    again = cli("train", "--multirun", *words, "seed=1,2")
    assert again.code == 2
    assert "never overwritten" in again.err


@pytest.mark.exhaustive
def test_each_job_has_its_own_wandb_run(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    words = [word for word in TINY if word != "logger=csv"]
    words += [f"data.root={data_root}", f"runs={tmp_path}", "run_name=w", "trainer.max_epochs=1"]
    words += ["logger=wandb", "logger.offline=true", "logger.images=2"]
    result = cli("train", "--multirun", *words, "seed=1,2")
    assert result.code == 0, result.err
    for job in ("0", "1"):
        (run,) = (tmp_path / "w" / job / "wandb").glob("offline-run-*")
        assert run.name.endswith(f"-w-{job}")
        (record,) = run.glob("run-*.wandb")
        content = record.read_bytes()
        assert b"val/overlays" in content
        assert b"prediction" in content
        assert b"test/map_50" in content
        pictures = list(run.glob("files/media/images/val/*.png"))
        assert len(pictures) == 2
        assert list(run.glob("files/media/metadata/boxes2D/val/*.json"))
    assert json.loads((tmp_path / "w/0/metrics.json").read_text()) != {}


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
