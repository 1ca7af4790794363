import csv
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detr_diff.evaluation.contender import read_contender
from detr_diff.evaluation.record import Record
from detr_diff.training.moved_objects import moved_objects
from detr_diff.training.run import load_detector
from tests.conftest import TINY, shell


def test_evaluation_agrees_with_the_end_of_training(
    run_dir: Path, data_root: Path, tmp_path: Path, cli: Callable
) -> None:
    words = ["evaluate", f"ckpt_path={run_dir}/checkpoints/best.ckpt", f"out={tmp_path / 'e'}", "split=test"]
    result = cli(*words, f"data.root={data_root}", "trainer.enable_progress_bar=false")
    assert result.code == 0, result.err
    figures = json.loads((tmp_path / "e/evaluation.json").read_text())
    final = json.loads((run_dir / "metrics.json").read_text())
    for key, value in final.items():
        assert figures[key] == (None if value is None else pytest.approx(value, abs=1e-6)), key
    assert figures["split"] == "test"
    assert set(final) <= set(figures)
    for key, value in json.loads((run_dir / "analysis.json").read_text()).items():
        assert figures[key] == value, key
    assert figures["intervals"] == {}  # three pairs are too few
    drawn = {key: figures["bootstrap"][key] for key in ("drawn", "number", "resamples", "seed")}
    assert drawn == {"drawn": "pair", "number": 3, "resamples": 1000, "seed": 0}
    assert figures["bootstrap"]["caution"].startswith("only 1 scene is named")
    with (tmp_path / "e/pair_errors.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == figures["pairs"] == 3
    assert sum(int(row["objects"]) for row in rows) == figures["objects"]
    confusion = np.array(figures["confusion_matrix"]["rows_true_columns_predicted"])
    assert confusion[:-1].sum() == figures["objects"]
    kept = Record.load(tmp_path / "e/record.npz")
    assert len(kept.images) == 3
    assert len(kept.object_labels) == figures["objects"]
    contender = read_contender(tmp_path / "e", "e")  # what detr-diff compare reads
    assert contender.classes == ["person", "car", "bicycle"]
    assert {row["pair"] for row in rows} == set(contender.pairs)
    for title in (
        "no intervals: 3 pairs are fewer than 6",
        "by class",
        "by size",
        "confusion",
        "kinds of errors",
    ):
        assert title in result.out
    assert (tmp_path / "e/score_sweep.csv").exists()
    assert (tmp_path / "e/report/index.html").exists()
    assert list((tmp_path / "e/overlays").glob("best*"))
    assert "map_50" in result.out
    again = cli(*words)
    assert (again.code, "never overwritten" in again.err) == (2, True)


def test_another_data_set_is_evaluated_whole(run_dir: Path, tmp_path: Path, cli: Callable) -> None:
    synth = [
        "data",
        "synth",
        f"out={tmp_path / 'd'}",
        "pairs=6",
        "scenes=2",
        "width=96",
        "height=64",
        "seed=9",
    ]
    assert cli(*synth).code == 0
    folder = tmp_path / "run/checkpoints"
    folder.mkdir(parents=True)
    (folder / "last.ckpt").write_bytes((run_dir / "checkpoints/last.ckpt").read_bytes())
    words = ["evaluate", f"ckpt_path={folder}/last.ckpt", f"data.root={tmp_path / 'd'}"]
    result = cli(*words, "trainer.enable_progress_bar=false")
    assert result.code == 0, result.err
    figures = json.loads((tmp_path / "run/evaluation/d-all/evaluation.json").read_text())
    assert figures["pairs"] == 6


def test_another_folder_has_neither_csv_nor_labels_nor_subset_of_the_training(
    run_dir: Path, data_root: Path, tmp_path: Path, cli: Callable
) -> None:
    trained = tmp_path / "trained"
    shutil.copytree(data_root, trained)
    (trained / "labels").rename(trained / "labels_changed")
    words = [*TINY, f"data.root={trained}", f"runs={tmp_path}", "run_name=r", "trainer.max_epochs=1"]
    result = cli("train", *words, "data.labels=labels_changed", "data.subset=4", "kept_prefix.where=off")
    assert result.code == 0, result.err
    given = [f"ckpt_path={tmp_path}/r/checkpoints/best.ckpt", "report=false", "bootstrap=0"]
    pairs = len(list((data_root / "labels").rglob("*.txt")))
    for model, root, expected in (
        ([], data_root, pairs),
        ([], trained, 4),
        (["model=oracle"], data_root, pairs),
    ):
        out = tmp_path / f"{root.name}-{len(model)}"
        result = cli("evaluate", *given, *model, f"data.root={root}", f"out={out}")
        assert result.code == 0, result.err
        assert json.loads((out / "evaluation.json").read_text())["pairs"] == expected


def test_a_program_in_python_finds_what_predict_finds(
    run_dir: Path, data_root: Path, tmp_path: Path, cli: Callable
) -> None:
    first, second = sorted((data_root / "images").rglob("*.jpg"))[:2]
    checkpoint = run_dir / "checkpoints/best.ckpt"
    words = [
        f"ckpt_path={checkpoint}",
        f"before={second}",
        f"after={first}",
        f"out={tmp_path}",
        "threshold=0",
    ]
    assert cli("predict", *words).code == 0
    (written,) = json.loads((tmp_path / "predictions.json").read_text())
    detector, _ = load_detector(checkpoint)
    found = moved_objects(detector, str(second), first, threshold=0)
    assert len(found["scores"]) == len(written["objects"]) > 0
    columns = (found[key].tolist() for key in ("boxes", "scores", "labels"))
    for box, score, label, told in zip(*columns, written["objects"], strict=True):
        assert (detector.names[label], round(score, 4)) == (told["class"], told["score"])
        assert box == pytest.approx(told["box"], abs=0.01)
    assert (moved_objects(detector, second, first, threshold=0.9)["scores"] >= 0.9).all()


def test_a_whole_data_set_needs_no_scenes(
    run_dir: Path, data_root: Path, tmp_path: Path, cli: Callable
) -> None:
    """The run was split by scene; where all is evaluated, nothing is split."""
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
        for path in sorted((data_root / name).rglob("*.*"))[:8]:
            (tmp_path / name / path.name).symlink_to(path)
    shutil.copy(data_root / "dataset.yaml", tmp_path)
    words = ["evaluate", f"ckpt_path={run_dir}/checkpoints/best.ckpt", f"data.root={tmp_path}"]
    result = cli(*words, f"out={tmp_path / 'out'}", "data.on_error=skip")
    assert result.code == 0, result.err
    result = cli(*words, f"out={tmp_path / 'test'}", "data.on_error=skip", "split=test")
    assert (result.code, "has no scene; set data.scene" in result.err) == (2, True)


def test_a_run_folder_is_no_checkpoint(run_dir: Path, cli: Callable) -> None:
    result = cli("evaluate", f"ckpt_path={run_dir}")
    assert result.code == 2
    assert f"a run folder, did you mean {run_dir}/checkpoints/best.ckpt?" in result.err


def test_a_shaken_camera_is_aligned(run_dir: Path, tmp_path: Path, cli: Callable) -> None:
    """Evaluation may align the frames although training did not, and counts where it could not."""
    root = tmp_path / "shaken"
    size = ("width=128", "height=96")
    assert cli("data", "synth", f"out={root}", "pairs=6", "scenes=3", "shake=4", "turn=1", *size).code == 0
    checkpoint = f"ckpt_path={run_dir / 'checkpoints/best.ckpt'}"
    found = {}
    for method in ("none", "phase"):
        out = tmp_path / method
        listed = [
            checkpoint,
            f"data.root={root}",
            f"data.registration={method}",
            f"out={out}",
            "overlays=6",
            "report=false",
        ]
        assert cli("evaluate", *listed, "trainer.enable_progress_bar=false").code == 0
        found[method] = json.loads((out / "evaluation.json").read_text())
        assert not (out / "report").exists()
    assert "test/unaligned" not in found["none"]
    assert 0 <= found["phase"]["test/unaligned"] <= 2
    dark = [np.asarray(Image.open(sorted((tmp_path / name).rglob("*.png"))[0])).mean() for name in found]
    assert dark[1] < 0.9 * dark[0]  # edges no longer light up


def test_other_class_names_are_refused(run_dir: Path, data_root: Path, tmp_path: Path, cli: Callable) -> None:
    for name in ("images", "labels"):
        (tmp_path / name).symlink_to(data_root / name)
    (tmp_path / "dataset.yaml").write_text("names: [car, person, bicycle]")
    result = cli("evaluate", f"ckpt_path={run_dir}/checkpoints/best.ckpt", f"data.root={tmp_path}")
    assert result.code == 2
    assert "class names: the data has ['car', 'person', 'bicycle']" in result.err


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, cli: Callable) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(b"nothing")
    result = cli("evaluate", f"ckpt_path={path}")
    assert result.code == 1
    assert "not a checkpoint of detr-diff train" in result.err
    torch.save({"state_dict": {}}, path)
    assert "not a checkpoint of detr-diff train" in cli("evaluate", f"ckpt_path={path}").err


def test_a_pair_needs_only_the_checkpoint(
    run_dir: Path, data_root: Path, tmp_path: Path, cli: Callable
) -> None:
    before = sorted((data_root / "images").rglob("*_before.jpg"))[0]
    after = Path(str(before).replace("_before", "_after"))
    (tmp_path / "best.ckpt").write_bytes((run_dir / "checkpoints/best.ckpt").read_bytes())
    words = ["predict", "ckpt_path=best.ckpt", f"before={before}", f"after={after}", "out=found"]
    result = shell([*words, "threshold=0.01"], tmp_path)
    assert result.returncode == 0, result.stderr
    (pair,) = json.loads((tmp_path / "found/predictions.json").read_text())
    assert pair["pair"] == after.stem.removesuffix("_after")
    rows = pair["objects"]
    assert rows
    for row in rows:
        assert set(row) == {"box", "class", "score"}
        assert row["class"] in ("person", "car", "bicycle")
        assert 0.01 <= row["score"] <= 1
        x0, y0, x1, y1 = row["box"]
        assert x0 < x1
        assert y0 < y1
        assert -32 <= x0 <= 96
    (picture,) = (tmp_path / "found/overlays").iterdir()
    with Image.open(picture) as image:
        assert image.size == (512, 512)
    assert f"{len(rows)} objects in 1 pairs" in result.stdout
    again = cli(
        "predict", f"ckpt_path={tmp_path / 'best.ckpt'}", f"after={after}", f"out={tmp_path / 'found'}"
    )
    assert (again.code, "never overwritten" in again.err) == (2, True)
    inside = cli("predict", f"ckpt_path={tmp_path / 'best.ckpt'}", f"after={after}", f"out={run_dir}")
    assert (inside.code, "status.json exists and is never overwritten" in inside.err) == (2, True)


def test_a_set_needs_no_labels(run_dir: Path, data_root: Path, tmp_path: Path, cli: Callable) -> None:
    (tmp_path / "images").symlink_to(data_root / "images")
    words = ["predict", f"ckpt_path={run_dir}/checkpoints/best.ckpt", f"data.root={tmp_path}"]
    result = cli(*words, f"out={tmp_path / 'out'}", "trainer.enable_progress_bar=false")
    assert result.code == 0, result.err
    assert len(list((tmp_path / "out/overlays").iterdir())) == 30
    stored = torch.load(run_dir / "checkpoints/best.ckpt", weights_only=True)["state_dict"]["score_threshold"]
    assert f"a score of at least {round(float(stored), 4):g}" in result.out
    pairs = json.loads((tmp_path / "out/predictions.json").read_text())
    assert all(row["score"] >= float(stored) - 1e-4 for pair in pairs for row in pair["objects"])


def test_a_pair_without_objects_is_named(
    run_dir: Path, data_root: Path, tmp_path: Path, cli: Callable
) -> None:
    words = ["predict", f"ckpt_path={run_dir}/checkpoints/best.ckpt", f"data.root={data_root}", "threshold=1"]
    result = cli(*words, f"out={tmp_path / 'out'}", "trainer.enable_progress_bar=false")
    assert result.code == 0, result.err
    assert "0 objects in 30 pairs" in result.out
    pairs = json.loads((tmp_path / "out/predictions.json").read_text())
    names = sorted(path.stem for path in (data_root / "labels").rglob("*.txt"))
    assert sorted(Path(pair["pair"]).name for pair in pairs) == names
    assert not any(pair["objects"] for pair in pairs)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "give either before=... after=..., or data.root=..."),
        (["before=a.png"], 2, "before=... needs after=..."),
        (["before=a.png", "after=b.png", "data.root=."], 2, "give either before=... after=..."),
        (["before=a.png", "after=b.png"], 1, "a.png: no such file"),
        (["after=b.png", "threshold=3"], 2, "threshold=3.0: a number from 0 to 1"),
        (["data.root=.", "data.subset=-1"], 2, "data.subset=-1: at least 1"),
        (["data.root=.", "data.batch_size=0"], 2, "data.batch_size=0: at least 1"),
    ],
)
def test_a_wrong_question_is_named(
    words: list[str], code: int, message: str, run_dir: Path, tmp_path: Path, cli: Callable
) -> None:
    path = f"ckpt_path={run_dir}/checkpoints/best.ckpt"
    result = cli("predict", path, f"out={tmp_path / 'out'}", *words)
    assert result.code == code
    assert message in result.err


def test_figures_do_not_depend_on_how_many_are_evaluated_together(
    run_dir: Path, tmp_path: Path, cli: Callable
) -> None:
    checkpoint = run_dir / "checkpoints" / "best.ckpt"
    figures = {}
    for name, words in {"one": ["data.batch_size=1"], "many": ["data.batch_size=30"]}.items():
        given = [
            f"ckpt_path={checkpoint}",
            f"out={tmp_path / name}",
            "bootstrap=0",
            "overlays=0",
            "report=false",
        ]
        assert cli("evaluate", *given, *words).code == 0
        figures[name] = json.loads((tmp_path / name / "evaluation.json").read_text())
    numbers = [key for key, value in figures["one"].items() if isinstance(value, float)]
    assert {"test/map", "test/loss", "test/f1"} <= set(numbers)
    for key in numbers:
        assert figures["many"][key] == pytest.approx(figures["one"][key], rel=1e-3, abs=1e-5), key


def test_pairs_that_were_learnt_are_told(run_dir: Path, tmp_path: Path) -> None:
    words = ["evaluate", f"ckpt_path={run_dir}/checkpoints/best.ckpt", "trainer.enable_progress_bar=false"]
    words += ["report=false", "overlays=0", "bootstrap=0"]
    facts, said = {}, {}
    for split in ("train", "val", "all", "test"):
        result = shell([*words, f"split={split}", f"out={split}"], tmp_path)
        assert result.returncode == 0, result.stderr
        facts[split] = json.loads((tmp_path / split / "evaluation.json").read_text())
        said[split] = result.stderr
    learnt = facts["train"]["pairs"]
    assert {split: own.get("learnt_pairs") for split, own in facts.items()} == {
        "train": learnt,
        "val": 0,
        "all": learnt,
        "test": 0,
    }
    with (tmp_path / "all/pair_errors.csv").open(encoding="utf-8") as file:
        parts = Counter(row["part"] for row in csv.DictReader(file))
    assert parts == {split: facts[split]["pairs"] for split in ("train", "val", "test")}
    chosen_by = facts["val"]["pairs"]
    assert [own["validation_pairs"] for own in facts.values()] == [0, chosen_by, chosen_by, 0]
    told = f"{chosen_by} of these {chosen_by} pairs are those by which the checkpoint was chosen"
    assert told in said["val"]
    assert 0 < learnt < facts["all"]["pairs"]
    # Read otherwise, they are the same pairs.
    root = Path(load_detector(run_dir / "checkpoints/best.ckpt")[1]["root"])
    (tmp_path / "link").symlink_to(root)
    for name, word, split, fair in (
        ("link", "data.root=link", "all", "split=test is fair"),
        ("some", "data.subset=20", "all", "split=test is fair"),
        ("other", "data.split_seed=5", "test", "not that of the training because of data.split_seed=5"),
    ):
        result = shell([*words, f"split={split}", f"out={name}_result", word], tmp_path)
        assert result.returncode == 0, result.stderr
        assert re.search(f"that the checkpoint has learnt: .*{fair}", result.stderr), name
        own = json.loads((tmp_path / f"{name}_result/evaluation.json").read_text())
        assert 0 < own["learnt_pairs"] <= min(learnt, own["pairs"])
    told = f"{learnt} of these {facts['all']['pairs']} pairs are those that the checkpoint has learnt"
    assert told in said["all"]
    assert f"frame pairs: {learnt} train, " in said["all"]
    assert "learnt" not in said["test"]
    shutil.copytree(root, tmp_path / "copied")
    result = shell([*words, "data.root=copied", "out=copied_result"], tmp_path)
    assert "another folder than in training: which of these pairs were learnt is not known" in result.stderr
    assert json.loads((tmp_path / "copied_result/evaluation.json").read_text())["learnt_pairs"] is None


def test_pairs_that_a_baseline_is_tuned_on_are_told(data_root: Path, tmp_path: Path) -> None:
    words = [
        "evaluate",
        "model=threshold_blobs",
        f"data.root={data_root}",
        "data.split_by=scene",
        "report=false",
    ]
    words += [
        "trainer.enable_progress_bar=false",
        "overlays=0",
        "bootstrap=0",
        "data.val=0.2",
        "data.test=0.2",
    ]
    learnt = {}
    for split in ("all", "test"):
        result = shell([*words, f"split={split}", f"out={split}"], tmp_path)
        assert result.returncode == 0, result.stderr
        facts = json.loads((tmp_path / split / "evaluation.json").read_text())
        assert facts["model"]["baseline"] == "threshold_blobs"
        learnt[split] = facts.get("learnt_pairs")
    assert learnt["test"] == 0
    assert learnt["all"] > 0


def test_what_a_profiler_found_is_shown(run_dir: Path, tmp_path: Path) -> None:
    words = ["evaluate", f"ckpt_path={run_dir}/checkpoints/best.ckpt", "trainer.enable_progress_bar=false"]
    words += ["report=false", "overlays=0", "bootstrap=0", f"out={tmp_path}/profiled"]
    result = shell([*words, "+trainer.profiler=simple"], tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Profiler Report" in result.stdout + result.stderr
    result = shell([*words[:-1], "out=nothing", "+trainer.limit_test_batches=0"], tmp_path)
    assert result.returncode == 2
    assert "trainer.limit_test_batches=0: without a test there are no final figures" in result.stderr


def test_pairs_are_counted_that_were_judged(run_dir: Path, tmp_path: Path) -> None:
    words = ["evaluate", f"ckpt_path={run_dir}/checkpoints/best.ckpt", "trainer.enable_progress_bar=false"]
    words += ["overlays=0", "split=train", "data.batch_size=4", "+trainer.limit_test_batches=1", "out=some"]
    result = shell(words, tmp_path)
    assert result.returncode == 0, result.stderr
    facts = json.loads((tmp_path / "some/evaluation.json").read_text())
    assert (facts["pairs"], facts["learnt_pairs"]) == (4, 4)
    assert "train: 4 pairs" in result.stdout
    assert "<dt>pairs</dt><dd>4</dd>" in (tmp_path / "some/report/index.html").read_text()


@pytest.mark.parametrize("part", ["class", "box"])
def test_predictions_that_are_no_numbers_are_told(
    part: str, run_dir: Path, data_root: Path, tmp_path: Path
) -> None:
    checkpoint = torch.load(run_dir / "checkpoints/best.ckpt", weights_only=True)
    head = re.compile(r"class_labels_classifier|class_embed" if part == "class" else "bbox")
    broken = [value for name, value in checkpoint["state_dict"].items() if head.search(name)]
    assert broken
    for value in broken:
        value.fill_(torch.nan)
    torch.save(checkpoint, tmp_path / "broken.ckpt")
    shown = ["ckpt_path=broken.ckpt", f"data.root={data_root}", "trainer.enable_progress_bar=false"]
    told = "of 30 images the model predicts scores or boxes that are no numbers"
    for words in (["evaluate", "out=judged"], ["predict", "out=found", "threshold=0"]):
        result = shell([*words, *shown], tmp_path)
        assert result.returncode == 0, result.stderr
        assert f"in 30 {told}" in result.stderr
    judged = json.loads((tmp_path / "judged/evaluation.json").read_text())
    assert (judged["test/map"], judged["test/not_finite"]) == (0.0, 30)
    assert "predictions that are no numbers" in (tmp_path / "judged/report/index.html").read_text()
    assert all(
        pair["objects"] == [] for pair in json.loads((tmp_path / "found/predictions.json").read_text())
    )


def test_pairs_that_cannot_be_aligned_are_told(
    run_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Boxes all over a shaken pair came without a reason."""
    checkpoint = torch.load(run_dir / "checkpoints/best.ckpt", weights_only=True)
    checkpoint["hyper_parameters"]["comparison"]["registration"] = "ecc"
    torch.save(checkpoint, tmp_path / "ecc.ckpt")
    rng = np.random.default_rng(0)
    scene = Image.fromarray(rng.integers(0, 256, (96, 96, 3), np.uint8).repeat(2, 0).repeat(2, 1))
    other = Image.fromarray(rng.integers(0, 256, (96, 96, 3), np.uint8).repeat(2, 0).repeat(2, 1))
    (tmp_path / "set/images").mkdir(parents=True)
    for name, before, after in (("still", scene, scene), ("lost", scene, other)):
        before.save(tmp_path / f"set/images/{name}_before.png")
        after.save(tmp_path / f"set/images/{name}_after.png")
    words = ["predict", "ckpt_path=ecc.ckpt", "data.root=set", "out=found"]
    result = shell([*words, "trainer.enable_progress_bar=false"], tmp_path)
    assert result.returncode == 0, result.stderr
    assert "1 of 2 pairs could not be aligned and were compared as they are" in result.stderr
    found = json.loads((tmp_path / "found/predictions.json").read_text())
    assert {pair["pair"]: pair["aligned"] for pair in found} == {"still": True, "lost": False}
    detector, _ = load_detector(tmp_path / "ecc.ckpt")
    for name in ("still", "lost"):
        moved_objects(detector, *(tmp_path / f"set/images/{name}_{role}.png" for role in ("before", "after")))
    told = [message for message in caplog.messages if "could not be aligned" in message]
    assert [message.partition(":")[0] for message in told] == [f"{tmp_path}/set/images/lost_after.png"]


def test_an_evaluation_that_fails_leaves_nothing(
    run_dir: Path, tmp_path: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an interrupted one had written was shown as the result of the next one."""

    def broken(*_: object) -> None:
        raise OSError("the disk is full")

    words = ["evaluate", f"ckpt_path={run_dir}/checkpoints/best.ckpt", f"out={tmp_path}/e", "bootstrap=0"]
    words += ["split=test", "trainer.enable_progress_bar=false"]
    with monkeypatch.context() as patched:
        patched.setattr("detr_diff.verbs.evaluate.write_metrics", broken)
        assert cli(*words).code == 1
    assert list(tmp_path.iterdir()) == []
    assert cli(*words, "overlays=1").code == 0
    assert len(list((tmp_path / "e/overlays").iterdir())) == 2
    facts = json.loads((tmp_path / "e/evaluation.json").read_text())
    assert facts["checkpoint"] == str(run_dir / "checkpoints/best.ckpt")
    assert facts["settings"] == {"precision": "32-true", "data": {}}


@pytest.mark.exhaustive
def test_two_processes_evaluate_and_one_writes(run_dir: Path, tmp_path: Path) -> None:
    figures = {}
    for devices in (1, 2):
        words = ["evaluate", f"ckpt_path={run_dir}/checkpoints/best.ckpt", f"out=e{devices}", "bootstrap=0"]
        words += ["trainer.enable_progress_bar=false", f"trainer.devices={devices}"]
        result = shell([*words, "overlays=2", "split=test"], tmp_path)
        assert result.returncode == 0, result.stderr
        assert result.stdout.count("written to") == 1
        figures[devices] = json.loads((tmp_path / f"e{devices}/evaluation.json").read_text())
    drawn = [{path.name for path in (tmp_path / f"e{n}/overlays").iterdir()} for n in (1, 2)]
    assert drawn[0] == drawn[1] != set()
    assert figures[2]["test/map"] == pytest.approx(figures[1]["test/map"], abs=1e-6)
    predict = ["predict", f"ckpt_path={run_dir}/checkpoints/best.ckpt", "out=p", f"data.root={tmp_path}"]
    result = shell([*predict, "trainer.devices=2"], tmp_path)
    assert result.returncode != 0


def test_an_oracle_of_all_pairs_needs_no_division(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    words = ["evaluate", "model=oracle", f"data.root={data_root}", f"out={tmp_path}/o", "bootstrap=50"]
    result = cli(*words, "data.split_by=column", "report=false", "trainer.enable_progress_bar=false")
    assert result.code == 0, result.err
    facts = json.loads((tmp_path / "o/evaluation.json").read_text())
    assert facts["pairs"] == 30
    low, high = facts["intervals"]["test/map_50"]
    assert low <= facts["test/map_50"] <= high
    assert "95 % intervals: 50 resamples of" in result.out
