import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from detr_diff.training.oracle import THRESHOLD, Oracle
from tests.conftest import Result

QUICK = ("split=test", "bootstrap=10", "overlays=1", "trainer.enable_progress_bar=false")
SPLIT = ("data.split_by=scene", "data.val=0.2", "data.test=0.2")
NUMBERS = {"baseline", "difference", "opening", "closing", "margin", "smallest", "half", "class"}


def evaluated(result: Result, out: Path) -> dict:
    assert result.code == 0, result.err
    return json.loads((out / "evaluation.json").read_text())


def test_blobs_are_judged_as_a_network_is(
    run_dir: Path, tmp_path: Path, cli: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = f"ckpt_path={run_dir}/checkpoints/best.ckpt"
    words = ["evaluate", *QUICK]
    network = evaluated(cli(*words, checkpoint, f"out={tmp_path / 'net'}"), tmp_path / "net")
    result = cli(*words, checkpoint, "model=threshold_blobs", f"out={tmp_path / 'blobs'}")
    blobs = evaluated(result, tmp_path / "blobs")
    assert {key for key in network if "loss" not in key} == set(blobs) - {"model"}
    assert {path.name for path in (tmp_path / "net").iterdir()} == {
        path.name for path in (tmp_path / "blobs").iterdir()
    }
    for key in ("objects", "pairs", "sizes", "still_pairs", "split", "data"):
        assert blobs[key] == network[key]  # the same pairs
    assert blobs["test/map_50_any_class"] > 0.3
    assert blobs["test/map_50_any_class"] > blobs["test/map_50"]
    assert blobs["test/f1_any_class"] > 0.4
    assert set(blobs["model"]) == NUMBERS
    assert "threshold_blobs: difference=" in caplog.text


@pytest.mark.exhaustive
def test_blobs_need_no_checkpoint_and_keep_given_numbers(
    data_root: Path,
    tmp_path: Path,
    cli: Callable,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["evaluate", "model=threshold_blobs", f"data.root={data_root}", *SPLIT, *QUICK]
    result = cli(*words, "model.difference=30", "model.opening=0", "model.pairs=6", "model.smallest=0")
    found = evaluated(result, tmp_path / "runs/threshold_blobs/mini-test")
    assert (found["model"]["difference"], found["model"]["opening"]) == (30.0, 0.0)
    assert found["checkpoint"] is None
    assert "on 6 pairs of train" in caplog.text
    again = cli(*words)
    assert (again.code, "never overwritten" in again.err) == (2, True)
    assert "tuned on; split=test" not in caplog.text
    cli(*words, "split=train", "model.pairs=6", "model.margin=0", "model.smallest=0", "out=train")
    assert "evaluated on pairs that it is tuned on; split=test" in caplog.text


def half_labelled(data_root: Path, root: Path) -> None:
    """The data with a second label folder that has every second object."""
    shutil.copytree(data_root, root)
    for path in (root / "labels").rglob("*.txt"):
        lines = path.read_text().splitlines()
        half = root / "half" / path.relative_to(root / "labels")
        half.parent.mkdir(parents=True, exist_ok=True)
        half.write_text("\n".join(lines[::2]))


def test_the_oracle_shows_what_the_labels_leave(
    data_root: Path, tmp_path: Path, cli: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    half_labelled(data_root, tmp_path / "d")
    words = ["evaluate", "model=oracle", f"data.root={tmp_path / 'd'}", *SPLIT, *QUICK]
    whole = evaluated(cli(*words, "model.places=labels", f"out={tmp_path / '1'}"), tmp_path / "1")
    assert whole["test/map"] == whole["test/f1"] == pytest.approx(1.0)
    half = cli(*words, "data.labels=half", "model.places=labels", f"out={tmp_path / '2'}")
    ceiling = evaluated(half, tmp_path / "2")
    some, every = ceiling["objects"], whole["objects"]
    assert 0.4 * every < some < 0.8 * every
    assert ceiling["test/precision"] == pytest.approx(some / every)
    assert ceiling["test/recall"] == 1.0
    assert abs(ceiling["test/map_50_any_class"] - some / every) < 0.2
    assert ceiling["test/map_50"] == pytest.approx(ceiling["test/map"])
    guess = cli(*words, "data.labels=half", f"out={tmp_path / '3'}")
    guessed = evaluated(guess, tmp_path / "3")
    assert "changed regions have no box" in caplog.text
    assert some / every <= guessed["test/precision"] < 1.0
    assert guessed["test/recall"] == 1.0


def test_the_oracle_is_pure_and_sure() -> None:
    boxes = torch.rand(50, 4)
    oracle = Oracle([(boxes, torch.zeros(50)), (boxes, torch.zeros(50))], seed=1)
    first, second = (oracle(boxes, {"index": torch.tensor([index])}) for index in (0, 1))
    assert torch.equal(oracle(boxes, {"index": torch.tensor([0])})["scores"], first["scores"])
    assert not torch.equal(first["scores"], second["scores"])
    assert (first["scores"] >= THRESHOLD).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=oracle"], "not given: data.root=..., or ckpt_path=..."),
        (["model=rt_detr_small"], "model=rt_detr_small: not for evaluate, allowed: oracle, threshold_blobs"),
        (["model=threshold_blob"], "did you mean threshold_blobs?"),
        (["model=threshold_blobs", "model.diference=3"], "did you mean model.difference"),
        (["model=threshold_blobs", "model.pairs=0", "{root}"], "model.pairs=0: at least 1"),
        (["model=threshold_blobs", "model.closing=3", "{root}"], "model.closing=3: a share from 0 to 1"),
        (["model=oracle", "model.places=none", "{root}"], "model.places=none: no such folder in"),
        (
            ["model=oracle", "model.places=true", "{root}"],
            "model.places=True: of an oracle it is a",
        ),
        (["bootstrap=-1", "model=oracle", "{root}"], "bootstrap=-1: at least 0"),
    ],
)
def test_a_wrong_question_is_named(words: list[str], message: str, data_root: Path, cli: Callable) -> None:
    result = cli("evaluate", *(word.format(root=f"data.root={data_root}") for word in words))
    assert (result.code, message in result.err) == (2, True), result.err
    refused = cli("train", "model=threshold_blobs", "data.root=.")
    assert "model=threshold_blobs: not for train" in refused.err


def test_every_region_needs_frames_and_objects(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    """Without a before frame nothing can be inspected, without an object nothing can be tuned."""
    ready = tmp_path / "ready"
    for name in ("images", "labels"):
        (ready / name).mkdir(parents=True)
    for index, picture in enumerate(sorted((data_root / "images").rglob("*_after.jpg"))[:4]):
        shutil.copy(picture, ready / f"images/{index}.jpg")
        (ready / f"labels/{index}.txt").write_text("")
    (ready / "dataset.yaml").write_text("names: [person]")
    words = ["evaluate", f"data.root={ready}", "data.split_by=pair", "data.val=0.5", f"out={tmp_path / 'o'}"]
    result = cli(*words, "model=oracle")
    assert (result.code, "is a ready diff image; give model.places" in result.err) == (2, True)
    result = cli(*words, "model=threshold_blobs")
    assert (result.code, "no object in the" in result.err) == (2, True), result.err
