"""Every family through the real command line: it trains, resumes, evaluates and predicts."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from detr_diff.model.families import FAMILIES, ClassLoss, Scores
from detr_diff.model.load import load_model
from detr_diff.training.detector import Detector
from tests.conftest import TINY
from tests.model import tiny_models

RUN = [word for word in TINY if not word.startswith(("model", "data.batch_size"))]


def test_the_tests_know_every_family() -> None:
    assert list(tiny_models.FAMILIES) == list(FAMILIES)


@pytest.mark.parametrize("name", tiny_models.first_of(tiny_models.FAMILIES))
def test_a_family_trains_resumes_evaluates_and_predicts(
    name: str, data_root: Path, tmp_path: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = FAMILIES[name].multiple_of > 1
    size = {"height": 64, "width": 64} if fixed else {"shortest_edge": 64, "longest_edge": 64}
    settings = {"family": name, "pretrained": None, "config": tiny_models.FAMILIES[name]}
    (tmp_path / "model").mkdir()
    (tmp_path / f"model/{name}.yaml").write_text(yaml.safe_dump({**settings, "processor": {"size": size}}))
    words = ["train", *RUN, "--config-dir", str(tmp_path), f"model={name}", f"data.root={data_root}"]
    words += ["data.subset=4", "data.batch_size=2", f"runs={tmp_path}", f"run_name={name}", "overlays=0"]

    def killed(detector: Detector) -> None:
        if detector.current_epoch == 1:
            raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(Detector, "on_train_epoch_start", killed)
        assert "killed" in cli(*words).err
    first = torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)
    result = cli(*words, "resume=true")
    assert result.code == 0, result.err
    last = torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)
    assert (first["epoch"], last["epoch"]) == (0, 1)
    changed = [
        key
        for key in last["state_dict"]
        if not torch.equal(first["state_dict"][key], last["state_dict"][key])
    ]
    assert any("encoder" in key for key in changed)
    report = json.loads((tmp_path / name / "report.json").read_text())["transfer"]
    assert {row["action"] for row in report["tensors"]} == {"random"}

    checkpoint = f"ckpt_path={tmp_path / name / 'checkpoints/best.ckpt'}"
    quiet = "trainer.enable_progress_bar=false"
    assert cli("evaluate", checkpoint, "split=test", "overlays=0", quiet).code == 0
    final = json.loads((tmp_path / name / "metrics.json").read_text())
    (evaluated,) = (tmp_path / name / "evaluation").glob("*/evaluation.json")
    figures = json.loads(evaluated.read_text())
    for key, value in final.items():
        assert figures[key] == (None if value is None else pytest.approx(value, abs=1e-5)), key
    before, after = sorted((data_root / "images").rglob("*.jpg"))[:2]
    frames = [f"before={before}", f"after={after}", f"out={tmp_path / 'found'}", "threshold=0"]
    assert cli("predict", checkpoint, *frames, quiet).code == 0
    (pair,) = json.loads((tmp_path / "found/predictions.json").read_text())
    rows = pair["objects"]
    assert rows
    assert {row["class"] for row in rows} <= {"person", "car", "bicycle"}


@pytest.mark.parametrize("name", tiny_models.first_of(tiny_models.FAMILIES))
def test_the_class_loss_is_divided_as_the_table_says(name: str) -> None:
    """Twice the boxes at the same places: a sum over boxes grows, its mean does not."""
    torch.manual_seed(0)
    kind = FAMILIES[name]
    config = {**tiny_models.FAMILIES[name], "auxiliary_loss": False}
    model, _, _ = load_model(name, ["a", "b"], config=config)
    model.eval()
    assert model(torch.rand(1, 3, 64, 64)).logits.shape[-1] == 2 + (kind.scores is Scores.softmax)
    losses = {}
    for boxes in (1, 2):
        # No object is anything like a query's box, so every query counts as background at first.
        labels = [
            {"boxes": torch.full((boxes, 4), 0.001), "class_labels": torch.zeros(boxes, dtype=torch.int64)}
        ]
        with torch.no_grad():
            parts = model(torch.zeros(1, 3, 64, 64), labels=labels).loss_dict
        losses[boxes] = float(next(parts[key] for key in ("loss_ce", "loss_vfl") if key in parts))
    ratio = losses[2] / losses[1]
    assert (ratio < 0.8) is (kind.class_loss is not ClassLoss.cross_entropy), ratio


def test_a_run_starts_from_the_checkpoint_of_another(
    run_dir: Path, data_root: Path, tmp_path: Path, cli: Callable
) -> None:
    """Class rows by name, a stem for nine channels, the rest bit for bit; all of it in the report."""
    checkpoint = run_dir / "checkpoints/best.ckpt"
    words = ["train", *TINY, f"model.pretrained={checkpoint}", f"data.root={data_root}", "data.diff=stack"]
    words += ["data.subset=4", "trainer.max_epochs=1", "overlays=0"]
    result = cli(*words, f"runs={tmp_path}")
    assert result.code == 0, result.err
    report = json.loads((tmp_path / "train/report.json").read_text())["transfer"]
    assert report["backbone_share"] == 1.0
    assert report["classes"] == {name: name for name in ("person", "car", "bicycle")}
    actions = {row["name"]: row["action"] for row in report["tensors"]}
    stem = "model.backbone.model.embedder.embedder.0.convolution.weight"
    assert {name for name, action in actions.items() if action != "copied"} == {stem}
    assert all(row["equal"] for row in report["tensors"] if row["action"] == "copied")
    assert "backbone features of a probe image: cosine with the source's 1.000000" in result.err
    assert "bit for bit" in (tmp_path / "train/train.log").read_text()

    refused = ["model.transfer.channels=skip", "model.transfer.require=1", f"runs={tmp_path / 'other'}"]
    result = cli(*words, *refused)
    assert result.code == 2
    assert "of the backbone's 75 tensors arrived, model.transfer.require=1" in result.err
