import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from detr_diff.choices import SplitBy
from detr_diff.data.check import check
from detr_diff.data.description import read_description
from detr_diff.data.discovery import discover
from detr_diff.data.split import split_pairs
from detr_diff.evaluation.record import Record
from detr_diff.training.metrics_file import read_metrics
from tests.conftest import TINY

KEYS = ("map", "map_50", "map_75", "loss", "score_threshold", "precision", "recall", "f1")
CLASSES = ("person", "car", "bicycle")


def test_the_run_folder_is_complete(run_dir: Path, data_root: Path) -> None:
    names = {path.name for path in run_dir.iterdir()}
    assert names == {
        "config.yaml",
        "environment.json",
        "status.json",
        "schedule.png",
        "metrics.csv",
        "metrics.json",
        "report.json",
        "score_sweep.csv",
        "record.npz",
        "pair_errors.csv",
        "analysis.json",
        "report",
        "checkpoints",
        "overlays",
        "train.log",
    }
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert config["data"]["root"] == str(data_root)
    assert list(config["stages"]) == ["first", "second"]


def test_the_final_metrics_are_flat(run_dir: Path) -> None:
    figures = json.loads((run_dir / "metrics.json").read_text())
    for key in KEYS:
        assert 0 <= figures[f"test/{key}"] < 1000
    for name in CLASSES:
        for key in ("map", "precision", "recall", "f1"):
            assert f"test/{key}/{name}" in figures
    assert all(value is None or isinstance(value, float) for value in figures.values())


def test_the_sweep_holds_the_final_point(run_dir: Path) -> None:
    rows = list(csv.DictReader((run_dir / "score_sweep.csv").open()))
    assert len(rows) == 10 * 91
    figures = json.loads((run_dir / "metrics.json").read_text())
    threshold = round(figures["test/score_threshold"], 2)
    (row,) = [r for r in rows if float(r["iou"]) == 0.5 and float(r["score"]) == threshold]
    for key in ("precision", "recall", "f1"):
        assert float(row[key]) == pytest.approx(figures[f"test/{key}"], abs=1e-5)


def test_the_run_is_looked_at_closely(run_dir: Path) -> None:
    analysis = json.loads((run_dir / "analysis.json").read_text())
    assert analysis["intervals"] == {}  # three pairs are too few
    own = Record.load(run_dir / "record.npz")
    assert len(own.object_labels) == analysis["objects"] > 0
    rows = list(csv.DictReader((run_dir / "pair_errors.csv").open()))
    assert len(rows) == len(own.images)
    assert sum(int(row["objects"]) for row in rows) == analysis["objects"]
    assert sum(int(row["background"]) for row in rows) == analysis["errors"]["background"]
    assert "kinds of errors" in (run_dir / "train.log").read_text()


def test_the_report_tells_how_the_run_learned(run_dir: Path) -> None:
    text = (run_dir / "report/index.html").read_text()
    for words in (
        "Stage 1: first, from step 0",
        "Stage 2: second",
        "Tensors from random weights",
        "val/map_50",
    ):
        assert words in text
    assert f"report: {run_dir}/report/index.html" in (run_dir / "train.log").read_text()


def test_checkpoints_hold_tensors_and_primitives(run_dir: Path) -> None:
    for name in ("best", "last"):
        checkpoint = torch.load(run_dir / f"checkpoints/{name}.ckpt", weights_only=True)
        architecture = checkpoint["hyper_parameters"]["architecture"]
        assert list(architecture["config"]["id2label"].values()) == list(CLASSES)
        assert 0 < float(checkpoint["state_dict"]["score_threshold"]) < 1


def test_device_and_precision_are_logged(run_dir: Path) -> None:
    assert "on cpu in 32-true" in (run_dir / "train.log").read_text()


def test_stage_changes_are_logged(run_dir: Path) -> None:
    log = (run_dir / "train.log").read_text()
    assert "stage 1 of 2: first" in log
    assert "stage 2 of 2: second" in log
    rows = list(csv.DictReader((run_dir / "metrics.csv").open()))
    stages = [row for row in rows if row["stage"]]
    assert [float(row["stage"]) for row in stages] == [1, 2]
    assert float(stages[0]["trainable/decoder"]) == 0 < float(stages[1]["trainable/decoder"])
    assert float(stages[1]["peak_lr/stem"]) == pytest.approx(1e-4)
    assert float(stages[1]["peak_lr/box_head"]) == pytest.approx(1e-3)


def test_overlays_are_pictures_of_the_test_pairs(run_dir: Path) -> None:
    pictures = sorted((run_dir / "overlays").iterdir())
    assert {p.name.split("_")[0] for p in pictures} == {"best", "worst"}
    for path in pictures:
        with Image.open(path) as image:
            assert min(image.size) >= 400


def test_an_existing_run_is_kept(run_dir: Path, data_root: Path, cli: Callable) -> None:
    before = {p: p.stat().st_mtime_ns for p in run_dir.rglob("*") if p.is_file()}
    status = (run_dir / "status.json").read_text()
    words = [*TINY, f"data.root={data_root}", f"runs={run_dir.parent}", "run_name=tiny"]
    result = cli("train", *words)
    assert result.code == 2
    assert "never overwritten" in result.err
    result = cli("train", *words, "resume=true", "stages.second.epochs=2")
    assert result.code == 2
    assert "stages.second.epochs was 1, now 2" in result.err
    changed = {p.name for p, t in before.items() if p.stat().st_mtime_ns != t}
    assert changed <= {"train.log", "traceback.txt", "status.json"}
    assert (run_dir / "status.json").read_text() == status


def test_a_finished_run_resumes_to_nothing(run_dir: Path, data_root: Path, cli: Callable) -> None:
    figures = (run_dir / "metrics.json").read_text()
    rows = (run_dir / "metrics.csv").read_text()
    words = [*TINY, f"data.root={data_root}", f"runs={run_dir.parent}", "run_name=tiny", "resume=true"]
    result = cli("train", *words)
    assert result.code == 0
    assert "finished already" in result.err
    assert (run_dir / "metrics.json").read_text() == figures
    assert (run_dir / "metrics.csv").read_text() == rows


def exhaustive(*extra: str) -> Any:
    return pytest.param(list(extra), marks=pytest.mark.exhaustive)


def test_a_run_that_is_older_than_a_setting_resumes(
    run_dir: Path, data_root: Path, tmp_path: Path, cli: Callable
) -> None:
    run = tmp_path / "tiny"
    shutil.copytree(run_dir, run)
    (run / "metrics.json").unlink()
    settings = yaml.safe_load((run / "config.yaml").read_text())
    for key in ("places", "input", "feature_diff", "modification"):
        del settings["model"][key]
    del settings["report"]
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    words = ["train", *TINY, f"data.root={data_root}", f"runs={tmp_path}", "run_name=tiny", "resume=true"]
    result = cli(*words, "model.places=true")
    assert (result.code, "model.places was False, now True" in result.err) == (2, True), result.err
    result = cli(*words, "+stages.third={epochs: 1}")
    assert (result.code, "stages.third.epochs was None, now 1" in result.err) == (2, True)
    words += ["report=true"] if "report=true" in TINY else []
    result = cli(*words)
    assert result.code == 0, result.err
    assert (run / "metrics.json").read_text() == (run_dir / "metrics.json").read_text()


@pytest.mark.parametrize(
    "extra",
    [
        exhaustive("data.diff=stack", "data.augment=none", "data.subset=6"),
        ["data.diff=signed", "model=detr_tiny", "model.processor.size={shortest_edge: 64, longest_edge: 64}"],
        exhaustive("trainer.precision=bf16-mixed", "checkpoint.monitor=val/loss", "data.num_workers=1"),
        ["trainer.val_check_interval=2", "+trainer.limit_test_batches=1", "logger=tensorboard"],
        exhaustive("trainer.accumulate_grad_batches=4", "early_stopping.patience=1"),
        exhaustive(
            "data.diff=tolerant",
            "data.light_compensation=true",
            "data.augment=strong",
            "data.cache=memory",
            "data.zoom=[1,3]",
        ),
    ],
    ids=["stack", "detr", "bf16", "steps", "accumulate", "tolerant"],
)
def test_the_settings_work_together(extra: list[str], data_root: Path, tmp_path: Path, cli: Callable) -> None:
    if "model=detr_tiny" in extra:
        base = [word for word in TINY if not word.startswith("model")]
    else:
        base = list(TINY)
    if "logger=tensorboard" in extra:
        base.remove("logger=csv")
    result = cli("train", *base, f"data.root={data_root}", f"runs={tmp_path}", *extra)
    assert result.code == 0, result.err
    assert (tmp_path / "train/metrics.json").exists()
    assert ("the frozen blocks (stem to encoder) run once" in result.err) is ("data.augment=none" in extra)
    if "logger=tensorboard" in extra:
        assert list((tmp_path / "train/tensorboard").glob("events*"))


def test_early_stopping_stops_the_last_stage_only(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    words = [*TINY, f"data.root={data_root}", f"runs={tmp_path}", "data.subset=4"]
    words += ["stages.first.epochs=4", "stages.second.epochs=8", "early_stopping.patience=2"]
    words += ["early_stopping.monitor=val/loss", "early_stopping.min_delta=1e6"]  # none is that much better
    assert cli("train", *words).code == 0
    rows = list(csv.DictReader((tmp_path / "train/metrics.csv").open()))
    epochs = {int(row["epoch"]) for row in rows if row["val/map"]}
    assert epochs == set(range(7))  # four of the first stage, one best and two more of the last


def test_after_only_labels_are_warned_of(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    (tmp_path / "images").symlink_to(data_root / "images")
    (tmp_path / "dataset.yaml").write_bytes((data_root / "dataset.yaml").read_bytes())
    for path in (data_root / "labels").rglob("*.txt"):
        target = tmp_path / path.relative_to(data_root)
        target.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines(keepends=True)
        target.write_text("".join(lines[len(lines) // 2 :]))
    # The last ends it before the first step.
    common = [*TINY, f"data.root={tmp_path}", f"runs={tmp_path}", "compile=nonsense"]
    warned = cli("train", *common, "run_name=abs").err
    assert warned.count("cannot tell before from after") == 1
    assert "cannot tell before from after" not in cli("train", *common, "run_name=s", "data.diff=signed").err


def test_no_validation_pairs_are_refused(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    result = cli("train", *TINY, f"data.root={data_root}", f"runs={tmp_path}", "data.val=0")
    assert result.code == 2
    assert "no pairs in the val split" in result.err


def test_without_test_pairs_the_metrics_are_named_after_validation(
    data_root: Path, tmp_path: Path, cli: Callable
) -> None:
    words = [*TINY, f"data.root={data_root}", f"runs={tmp_path}", "data.test=0", "trainer.max_epochs=1"]
    result = cli("train", *words)
    assert result.code == 0
    assert "no test pairs" in result.err
    figures = json.loads((tmp_path / "train/metrics.json").read_text())
    assert figures
    assert all(key.startswith("val/") for key in figures)


@pytest.mark.parametrize(
    "interval",
    [
        ["trainer.check_val_every_n_epoch=3"],
        ["trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=100"],
        ["trainer.val_check_interval=2"],
    ],
)
def test_the_end_of_a_training_is_judged(
    interval: list[str], data_root: Path, tmp_path: Path, cli: Callable
) -> None:
    """However rarely it validates: the last epochs were trained and thrown away without a word."""
    words = [*TINY, f"data.root={data_root}", f"runs={tmp_path}", "data.subset=12"]
    assert cli("train", *words, *interval).code == 0
    assert cli("train", *words, *interval, "trainer.max_epochs=1", "run_name=short").code == 0
    with (tmp_path / "train/metrics.csv").open(encoding="utf-8") as file:
        judged = [int(row["step"]) for row in csv.DictReader(file) if row["val/map"]]
    last = torch.load(tmp_path / "train/checkpoints/last.ckpt", weights_only=True)
    assert judged[-1] == last["global_step"] - 1
    assert len(judged) == (1 if "epoch" in interval[0] else 3)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("trainer.limit_val_batches=0", "trainer.limit_val_batches=0: without a validation there"),
        ("trainer.limit_train_batches=0", "trainer.limit_train_batches=0: nothing would be learnt"),
        ("+trainer.limit_test_batches=0", "trainer.limit_test_batches=0: without a test there are no final"),
        ("early_stopping.patience=0", "early_stopping.patience=0: at least 1"),
        ("+trainer.min_epochs=3", "trainer.min_epochs=3: not taken; stages.<name>.patience says"),
        (
            "trainer.val_check_interval=00:01:00:00",
            "trainer.val_check_interval=00:01:00:00: a number of batches or a share of an epoch; check",
        ),
        ("trainer.precision=bf16-true", "trainer.precision=bf16-true: would round the boxes of the labels"),
        ("~trainer.accelerator", "trainer: lacks accelerator; a file of your own begins with `defaults: ["),
        (
            "stages.first.patience=2",
            "stages.first.patience=2: the stage does not say it yet; +stages.first.patience=2 adds it",
        ),
        (
            "+trainer.overfit_batches=2",
            "trainer.overfit_batches=2: not taken; data.subset=8 learns few",
        ),
        ("+trainer.max_steps=3", "trainer.max_steps=3: not taken; stages.<name>.epochs says how long"),
        ("+trainer.max_time=00:00:01:00", "trainer.max_time=00:00:01:00: not taken; stages.<name>.epochs"),
        ("+trainer.fast_dev_run=true", "trainer.fast_dev_run=True: not taken; a short run: data.subset=8"),
        ("trainer.max_epochs=9", "trainer.max_epochs=9: from 1 to 2, the epochs of all stages"),
        ("trainer.max_epochs=0", "trainer.max_epochs=0: from 1 to 2"),
        ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches=0: at least 1"),
        ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val=-1: at least 0"),
        ("trainer.check_val_every_n_epoch=0", "trainer.check_val_every_n_epoch=0: at least 1"),
        (
            "trainer.val_check_interval=0",
            "trainer.val_check_interval=0: without a validation there is no best",
        ),
        ("seed=-1", "seed=-1: a number from 0 to 4294967295"),
        ("ema.decay=1.0", "ema.decay=1.0: a number from 0 to below 1"),
        ("optimizer.weight_decay=nan", "optimizer.weight_decay=nan: at least 0"),
        ("early_stopping.min_delta=-1", "early_stopping.min_delta=-1.0: at least 0"),
        ("overlays=-1", "overlays=-1: at least 0"),
        ("stages.first.lr=nan", "stages.first.lr.all=nan: a number from 0"),
        (
            "+stages.third={epochs: 1, learn: all, lr: {backbone: 1e-5, heads: 1e-3}}",
            "no rate for transformer, which stages.third.learn names; 0 leaves them as they are",
        ),
        ("run_name=", "run_name=: the name of a folder in"),
        ("run_name=..", "run_name=..: the name of a folder in"),
        (
            "checkpoint.monitor=val/mapp",
            "checkpoint.monitor=val/mapp: not a figure of validation, did you mean",
        ),
        (
            "early_stopping.monitor=val/f2",
            "early_stopping.monitor=val/f2: not a figure of validation, did you",
        ),
    ],
)
def test_what_would_end_without_a_result_is_refused(
    setting: str, message: str, data_root: Path, tmp_path: Path, cli: Callable
) -> None:
    result = cli("train", *TINY, f"data.root={data_root}", f"runs={tmp_path}", setting)
    assert result.code == 2
    assert message in result.err
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_best_checkpoint_needs_objects_in_validation(
    data_root: Path, tmp_path: Path, cli: Callable
) -> None:
    root = Path(shutil.copytree(data_root, tmp_path / "data"))
    words = ("train", *TINY, f"data.root={root}", f"runs={tmp_path}", "data.test=0", "trainer.max_epochs=1")
    pairs = check(discover(root), read_description(root).names).pairs.frame_pairs()
    splits = split_pairs(pairs, SplitBy.scene, 0.2, 0.0, 0)
    for pair, split in zip(pairs, splits, strict=True):
        if split == "val":
            pair.label.write_text("")
    result = cli(*words)
    assert result.code == 2
    assert f"pairs of the val split of {root}: checkpoint.monitor=val/map is not a number then" in result.err
    assert cli(*words, "checkpoint.monitor=val/loss", "run_name=by_loss").code == 0
    for pair in pairs:
        pair.label.write_text("")
    result = cli(*words, "checkpoint.monitor=val/loss", "run_name=nothing")
    assert (result.code, "the train split" in result.err) == (2, True)
    assert "there is nothing to learn" in result.err


def test_a_wrong_trainer_argument_is_named(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    words = [*TINY, f"data.root={data_root}", f"runs={tmp_path}"]
    result = cli("train", *words, "+trainer.max_epoch=3")
    assert (result.code, "trainer.max_epoch: unknown, did you mean max_epochs" in result.err) == (2, True)
    result = cli("train", *words, "trainer.precision=17")
    assert result.code == 2
    assert "trainer: " in result.err


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "trainer.val_check_interval=3",
            "trainer.val_check_interval=3: an epoch has 1 batches in one",
        ),
        ("trainer.limit_train_batches=0.5", "trainer.limit_train_batches=0.5: leaves no batch in one of the"),
    ],
)
def test_a_later_stage_with_fewer_batches_is_thought_of(
    setting: str, message: str, data_root: Path, tmp_path: Path, cli: Callable
) -> None:
    """Lightning would stop when that stage begins, perhaps after hours, and a resumed run would, too."""
    words = [*TINY, f"data.root={data_root}", f"runs={tmp_path}", "+stages.second.batch_size=30", setting]
    result = cli("train", *words)
    assert (result.code, message in result.err) == (2, True), result.err


def test_of_equal_figures_the_last_is_the_best(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    """AP may be 0 for epochs in which the loss falls: then the first one is no better than the last."""
    words = [*TINY, f"data.root={data_root}", f"runs={tmp_path}", "data.subset=4", "guards.first_batch=0"]
    result = cli("train", *words, "stages.second.lr.all=1e-9", "stages.first.lr=1e-9")
    assert result.code == 0, result.err
    rows = [row for row in read_metrics(tmp_path / "train/metrics.csv") if row["val/map"]]
    assert [float(row["val/map"]) for row in rows] == [0.0, 0.0]
    assert "best checkpoint: epoch 1" in result.err
