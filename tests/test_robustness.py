import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from detr_diff.cli import main

LEVELS = [f"disturbances.{kind}=[]" for kind in ("gain", "bias", "noise", "blur", "jpeg")]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 pairs of a still camera, large enough for registration."""
    root = tmp_path_factory.mktemp("data") / "still"
    words = ["pairs=12", "scenes=4", "width=128", "height=96", "shake=0", "noise=1"]
    assert main(["data", "synth", f"out={root}", *words]) == 0
    return root


def rows(path: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    with path.open() as file:
        return {(r["disturbance"], r["level"], r["registration"]): r for r in csv.DictReader(file)}


@pytest.mark.exhaustive
def test_what_a_baseline_endures(scenes: Path, tmp_path: Path, cli: Callable) -> None:
    words = ["evaluate", "model=threshold_blobs", f"data.root={scenes}", "robustness=true", *LEVELS]
    words += ["disturbances.shift=[6]", "disturbances.rotation=[3]", "disturbances.swap=[1]"]
    words += ["disturbances.registration=[none,phase]", "data.split_by=pair", "model.pairs=6", "overlays=0"]
    words += ["trainer.enable_progress_bar=false", "bootstrap=0", "disturbances.pairs=50"]
    words += ["model.difference=20", "model.opening=0.01", "model.closing=0.05", "model.margin=0.01"]
    result = cli(*words, "model.smallest=0.001", f"out={tmp_path / 'a'}")
    assert result.code == 0, result.err
    found = rows(tmp_path / "a/robustness.csv")
    camera = {(k, v, m) for k, v in (("shift", "6"), ("rotation", "3")) for m in ("none", "phase")}
    undisturbed = {(k, "0", m) for k in ("shift", "rotation") for m in ("none", "phase")}
    assert set(found) == camera | undisturbed | {("swap", "0", "none"), ("swap", "1", "none")}
    assert {row["pairs"] for row in found.values()} == {"12"}
    # The figures beside it are of undisturbed pairs, and those of level 0 are the same.
    figures = json.loads((tmp_path / "a/evaluation.json").read_text())
    for key in ("map_50", "map", "f1"):
        assert float(found["shift", "0", "none"][key]) == pytest.approx(figures[f"test/{key}"], abs=1e-5)
        assert found["swap", "0", "none"][key] == found["shift", "0", "none"][key]
        # |after - before| is the same when the frames are swapped.
        assert found["swap", "1", "none"][key] == found["swap", "0", "none"][key]
    assert "AP50 by registration, 12 disturbed pairs" in result.out
    with Image.open(tmp_path / "a/robustness.png") as picture:
        assert picture.size[0] > 800
    less = ["disturbances.rotation=[]", "disturbances.swap=[]", "disturbances.registration=[phase]"]
    again = cli(*words, "model.smallest=0.001", *less, f"out={tmp_path / 'b'}")
    assert again.code == 0
    repeated = rows(tmp_path / "b/robustness.csv")
    assert repeated == {key: row for key, row in found.items() if key[0] == "shift" and key[2] == "phase"}


def test_what_a_network_endures(run_dir: Path, tmp_path: Path, cli: Callable) -> None:
    words = ["evaluate", f"ckpt_path={run_dir}/checkpoints/best.ckpt", f"out={tmp_path / 'a'}", "split=test"]
    words += ["robustness=true", *LEVELS, "disturbances.shift=[2]", "disturbances.rotation=[]"]
    words += ["disturbances.everywhere=true", "disturbances.pairs=2", "disturbances.swap=[0.5]", "overlays=0"]
    words += ["disturbances.registration=[none,orb]"]
    result = cli(*words, "trainer.enable_progress_bar=false", "bootstrap=0")
    assert result.code == 0, result.err
    found = rows(tmp_path / "a/robustness.csv")
    assert len(found) == 2 * 2 * 2
    assert {row["pairs"] for row in found.values()} == {"2"}
    assert json.loads((tmp_path / "a/evaluation.json").read_text())["pairs"] == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("model=oracle", "robustness=true: model=oracle looks at no picture, so nothing disturbs it"),
        ("model=threshold_blobs disturbances.pairs=0", "disturbances.pairs=0: at least 1"),
        ("model=threshold_blobs disturbances.jpeg=[100]", "disturbances.jpeg=100: a number from 0 to 99"),
        ("model=threshold_blobs disturbances.registration=[]", "registration=[]: at least one method"),
        ("model=threshold_blobs disturbances.registration=[sift]", "Invalid value 'sift'"),
        ("model=threshold_blobs disturbances.shft=[1]", "did you mean disturbances.shift"),
    ],
)
def test_a_mistake_gets_one_clear_line(
    words: str, message: str, scenes: Path, tmp_path: Path, cli: Callable
) -> None:
    result = cli(
        "evaluate", "robustness=true", f"data.root={scenes}", f"out={tmp_path / 'x'}", *words.split()
    )
    assert result.code == 2
    assert message in result.err
    assert not (tmp_path / "x").exists()


def test_ready_diff_images_have_no_before_frame(tmp_path: Path, cli: Callable, scenes: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    (tmp_path / "dataset.yaml").write_text((scenes / "dataset.yaml").read_text())
    label = next(path for path in sorted((scenes / "labels").rglob("*.txt")) if path.read_text())
    for index in range(6):
        Image.new("RGB", (64, 64)).save(tmp_path / f"images/{index}.png")
        (tmp_path / f"labels/{index}.txt").write_text(label.read_text())
    words = ["evaluate", "model=threshold_blobs", "robustness=true", f"data.root={tmp_path}"]
    result = cli(*words, f"out={tmp_path / 'x'}", "trainer.enable_progress_bar=false")
    assert result.code == 2
    assert "is a ready diff image, without a before frame" in result.err
