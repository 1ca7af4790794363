"""Old and new places from the labels to the arrows, through the real command line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.ops import box_convert

from detr_diff.cli import main
from detr_diff.data.batch import Batch
from detr_diff.data.check import check
from detr_diff.data.discovery import discover
from detr_diff.data.sprites import NAMES
from detr_diff.training.detector import Detector
from tests.conftest import TINY


@pytest.fixture(scope="module")
def placed_run(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a model that tells places apart."""
    runs = tmp_path_factory.mktemp("runs")
    words = [
        *TINY,
        "run_name=placed",
        "model.places=true",
        "data.diff=signed",
        "data.augment=strong",
        "guards.first_batch=0",
    ]
    assert main(["train", *words, f"data.root={data_root}", f"runs={runs}"]) == 0
    return runs / "placed"


FIGURES = ("place_accuracy", "link_accuracy", "link_precision")


def test_training_and_evaluation_agree(
    placed_run: Path, data_root: Path, tmp_path: Path, cli: Callable
) -> None:
    of_training = json.loads((placed_run / "metrics.json").read_text())
    assert all(f"test/{figure}" in of_training for figure in FIGURES)
    columns = (placed_run / "metrics.csv").read_text().splitlines()[0].split(",")
    assert "val/place_accuracy" in columns  # how it comes with the epochs
    assert "val/link_accuracy" not in columns
    assert "hardly learnt from pixels" in (placed_run / "train.log").read_text()
    assert not [key for key in of_training if key.endswith((" before", " after"))]  # figures are of classes
    checkpoint = f"ckpt_path={placed_run}/checkpoints/best.ckpt"
    words = [checkpoint, "split=test", f"out={tmp_path / 'out'}", "report=false"]
    result = cli("evaluate", *words, "trainer.enable_progress_bar=false")
    assert result.code == 0, result.err
    assert "place_accuracy" in result.out
    found = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert {key: found[f"test/{key}"] for key in FIGURES} == {
        key: of_training[f"test/{key}"] for key in FIGURES
    }


def test_predictions_name_place_and_partner(
    placed_run: Path,
    data_root: Path,
    tmp_path: Path,
    cli: Callable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a model that finds everything, which a training of seconds does not: the links are the true ones."""
    truth = check(discover(data_root), NAMES).pairs

    def find_all(detector: Detector, batch: Batch, batch_idx: int) -> list[dict[str, torch.Tensor]]:
        found = []
        for target in batch.targets:
            own = truth[int(target["index"])].labels
            boxes = box_convert(torch.from_numpy(own.boxes), "cxcywh", "xyxy") * 64
            columns = {"labels": torch.from_numpy(own.class_labels), "places": torch.from_numpy(own.places)}
            found.append({"boxes": boxes, "scores": torch.full((len(own),), 0.9), **columns})
        return found

    monkeypatch.setattr(Detector, "predict_step", find_all)
    checkpoint = f"ckpt_path={placed_run}/checkpoints/best.ckpt"
    words = ["predict", checkpoint, f"data.root={data_root}", f"out={tmp_path / 'found'}", "threshold=0.5"]
    result = cli(*words, "trainer.enable_progress_bar=false")
    assert result.code == 0, result.err
    assert "other place" in result.out
    pairs = json.loads((tmp_path / "found/predictions.json").read_text())
    rows = [row for pair in pairs for row in pair["objects"]]
    first = np.cumsum([0] + [len(pair["objects"]) for pair in pairs])
    partners = [
        None if row["link"] is None else first[number] + row["link"]
        for number, pair in enumerate(pairs)
        for row in pair["objects"]
    ]
    places = np.concatenate([item.labels.places for item in truth])
    assert [row["place"] for row in rows] == [("before", "after")[place] for place in places]
    things = [(item.pair.name, int(thing)) for item in truth for thing in item.labels.objects]
    moved = [thing for thing in set(things) if things.count(thing) == 2]
    links = [(index, partner) for index, partner in enumerate(partners) if partner is not None]
    right = [things[index] for index, partner in links if things[index] == things[partner]]
    assert all(partners[partner] == index for index, partner in links)
    assert len(right) > 0.9 * len(links)
    assert len(right) > 0.9 * 2 * len(moved) > 0


@pytest.fixture(scope="module")
def unplaced(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same data, whose labels do not say places."""
    root = tmp_path_factory.mktemp("unplaced")
    (root / "images").symlink_to(data_root / "images")
    (root / "dataset.yaml").write_text((data_root / "dataset.yaml").read_text())
    for path in (data_root / "labels").rglob("*.txt"):
        copy = root / "labels" / path.relative_to(data_root / "labels")
        copy.parent.mkdir(parents=True, exist_ok=True)
        lines = [" ".join(line.split()[:5]) for line in path.read_text().splitlines()]
        copy.write_text("".join(f"{line}\n" for line in lines))
    return root


def test_labels_without_places_are_refused(
    unplaced: Path, placed_run: Path, tmp_path: Path, cli: Callable
) -> None:
    words = [*TINY, "run_name=refused", "model.places=true", f"data.root={unplaced}", f"runs={tmp_path}"]
    for result in (
        cli("train", *words),
        cli("evaluate", f"ckpt_path={placed_run}/checkpoints/best.ckpt", f"data.root={unplaced}"),
    ):
        assert result.code == 1
        assert ".txt: an object without a place; the model has model.places=true" in result.err


def test_a_diff_that_cannot_tell_is_warned_of(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    words = [*TINY, "run_name=abs", "model.places=true", f"data.root={data_root}", f"runs={tmp_path}"]
    result = cli("train", *words, "compile=nonsense")  # ends it before the first step
    assert "model.places=true: data.diff=abs looks the same when the frames are swapped" in result.err
    doctor = ["doctor", *TINY, "model.places=true", f"data.root={data_root}", f"out={tmp_path}/d"]
    assert "places look alike" in cli(*doctor, "memorise.steps=0").out
