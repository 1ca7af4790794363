import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DetrForObjectDetection
from transformers.models.detr.modeling_detr import DetrFrozenBatchNorm2d

from detr_diff.errors import SettingError
from detr_diff.model.load import build_model, build_processor, load_model
from tests.model.test_blocks import MODELS, NATIVE, SMALL

CONFIG: dict[str, Any] = {**SMALL, "backbone_config": NATIVE}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretrained DETR with three classes, whose batch norm has seen data."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("pretrained")
    model, _, _ = load_model("detr", ["x", "y", "z"], config=CONFIG)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
    model.save_pretrained(folder)
    return folder


def test_pretrained_weights_arrive_and_the_head_is_replaced(source: Path) -> None:
    model, architecture, report = load_model("detr", ["person", "car"], pretrained=str(source))
    assert architecture.names == ["person", "car"]
    assert model.config.id2label == {0: "person", 1: "car"}
    replaced = [name for name, status in report.status.items() if status == "re-initialised"]
    assert replaced == ["class_labels_classifier.weight", "class_labels_classifier.bias"]
    assert not any(status == "missing" for status in report.status.values())
    reference = DetrForObjectDetection.from_pretrained(source).eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        ours, theirs = model.eval()(images), reference(images)
    torch.testing.assert_close(ours.pred_boxes, theirs.pred_boxes, atol=1e-6, rtol=0)
    assert ours.logits.shape[-1] == 3
    assert not architecture.live_batch_norm
    assert any(isinstance(module, DetrFrozenBatchNorm2d) for module in model.modules())


def test_what_does_not_fit_is_reported(source: Path) -> None:
    _, _, report = load_model(
        "detr", ["x", "y", "z"], pretrained=str(source), config={"num_queries": 4}, channels=9
    )
    counts = report.counts()
    assert counts["stem"]["re-initialised"] == 1
    assert counts["queries"] == {"re-initialised": 1}
    assert counts["class_head"] == {"loaded": 2}


@pytest.mark.parametrize("key", MODELS)
@pytest.mark.parametrize("channels", [3, 9])
def test_random_weights_have_live_batch_norm(key: str, channels: int) -> None:
    name, config = MODELS[key]
    model, architecture, report = load_model(name, ["a"], config=config, channels=channels)
    assert set(report.status.values()) == {"random"}
    assert architecture.live_batch_norm
    norms = [m for n, m in model.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(isinstance(module, DetrFrozenBatchNorm2d) for module in model.modules())
    labels = [{"boxes": torch.zeros(0, 4), "class_labels": torch.zeros(0, dtype=torch.int64)}]
    assert model(torch.randn(1, channels, 64, 64), labels=labels).loss.isfinite()


@pytest.mark.parametrize("key", MODELS)
def test_the_architecture_builds_the_same_model(key: str) -> None:
    name, config = MODELS[key]
    model, architecture, _ = load_model(name, ["a", "b"], config=config)
    again = build_model(architecture)
    again.load_state_dict(model.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        first, second = model.eval()(images), again.eval()(images)
    assert torch.equal(first.logits, second.logits)
    assert build_processor(architecture).to_dict() == build_processor(architecture).to_dict()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"family_name": "dert"}, "model.family=dert: unknown, did you mean detr"),
        ({"config": {"num_querys": 5}}, "model.config.num_querys: unknown, did you mean num_queries"),
        ({"pretrained": "./none"}, "model.pretrained=./none: no such folder"),
        ({"config": {"backbone_config": {"model_type": "nothing"}}}, "model.config"),
        (
            {"family_name": "rt_detr", "processor": {"size": {"height": 60, "width": 64}}},
            "model.processor.size.height=60: must be a multiple of 32",
        ),
    ],
)
def test_a_wrong_setting_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        load_model(**{"family_name": "detr", "names": ["a"], **arguments})


def test_an_older_configuration_needs_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """facebook/detr-resnet-50 names its backbone with backbone_kwargs, which lead to the hub."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    model, _, _ = load_model("detr", ["x"], config=MODELS["detr timm"][1])
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config |= {"backbone": config["backbone_config"]["backbone"], "backbone_config": None}
    config |= {"backbone_kwargs": {"in_chans": 3, "out_indices": [1, 2, 3, 4]}}
    config |= {"use_timm_backbone": True, "use_pretrained_backbone": True}
    path.write_text(json.dumps(config))
    loaded, architecture, report = load_model("detr", ["y"], pretrained=str(tmp_path))
    assert report.counts()["layer4"]["loaded"] >= 20
    assert torch.equal(loaded.model.backbone.model.conv1.weight, model.model.backbone.model.conv1.weight)
    build_model(architecture)


def test_another_family_in_the_folder_is_refused(source: Path) -> None:
    with pytest.raises(SettingError, match="holds detr, not rt_detr"):
        load_model("rt_detr", ["a"], pretrained=str(source))


def test_a_damaged_folder_is_refused(source: Path, tmp_path: Path) -> None:
    for file in source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(SettingError, match="cannot be loaded"):
        load_model("detr", ["a"], pretrained=str(tmp_path))


def test_without_a_network_there_is_one_clear_line(data_root: Path, tmp_path: Path) -> None:
    words = ["train", f"data.root={data_root}", f"runs={tmp_path}", "trainer.accelerator=cpu"]
    environment = {
        **os.environ,
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path / "hub"),
    }
    result = subprocess.run(
        [sys.executable, "-m", "detr_diff", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 2
    lines = result.stderr.strip().splitlines()
    assert lines == [
        "detr-diff: model.pretrained=facebook/detr-resnet-50: cannot be loaded: it is not in the local "
        "cache, and http://127.0.0.1:9 cannot be reached"
    ]
