"""All tensors arrived, and the features are still not the source's."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from transformers import DetrConfig, DetrForObjectDetection

from detr_diff.choices import Channels
from detr_diff.model.architecture import build_processor
from detr_diff.model.load import load_model
from detr_diff.model.probe import probe
from detr_diff.model.source import open_source
from detr_diff.model.transfer_report import TransferReport
from tests.model.sources import pretrained
from tests.model.test_naming import with_statistics
from tests.model.tiny_models import BACKBONES, SIZE, first_of
from tests.model.tiny_models import FAMILIES as TINY


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-18 of torchvision."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("resnet") / "resnet18.pth"
    torch.save(with_statistics(torchvision.models.resnet18()).state_dict(), path)
    return path


def load(path: Path, *, family: str = "detr", **settings: Any) -> TransferReport:
    return load_model(family, ["a"], pretrained=str(path), **settings)[2]


def native(**changes: Any) -> dict[str, Any]:
    backbone = {"model_type": "resnet", "out_features": ["stage1", "stage2", "stage3", "stage4"]}
    return {**SIZE, "backbone_config": {**backbone, **changes}}


BASIC = {"layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512]}


def test_the_same_features_are_seen_at_every_level(resnet_file: Path) -> None:
    for config in ({**SIZE, "backbone": "resnet18"}, native(**BASIC)):
        report = load(resnet_file, config=config)
        assert [level.stride for level in report.probe.levels] == [4, 8, 16, 32]
        assert report.probe.alike
        assert report.warning is None
        assert min(level.cosine for level in report.probe.levels) > 1 - 1e-6


def test_a_stride_at_another_place_is_seen(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "resnet50.pth"
    torch.save(with_statistics(torchvision.models.resnet50()).state_dict(), path)
    report = load(path, config=native(downsample_in_bottleneck=True))
    assert report.backbone_share() == 1.0
    assert all(tensor.equal for tensor in report.tensors if tensor.action == "copied")
    path.unlink()
    assert report.probe.levels[0].difference < 1e-4 < report.probe.levels[1].difference
    assert report.warning is not None
    assert "its tensors arrived, so look at the normalisation" in report.warning


def test_another_normalisation_is_seen(resnet_file: Path) -> None:
    config = {**SIZE, "backbone": "resnet18"}
    report = load(resnet_file, config=config, processor={"do_normalize": False})
    assert report.warning is not None
    report = load(resnet_file, config=config, processor={"image_mean": [0.5, 0.5, 0.5]})
    assert report.warning is not None


def test_a_batch_norm_without_its_statistics_is_seen(resnet_file: Path, tmp_path: Path) -> None:
    config = {**SIZE, "backbone": "resnet18"}
    model, architecture, _ = load_model("detr", ["a"], pretrained=str(resnet_file), config=config)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "running" in name:
                tensor.fill_(float("var" in name))
    arguments = build_processor(architecture), open_source(str(resnet_file)), Channels.repeat
    assert not probe(model, *arguments).alike

    stored = {n: t for n, t in torch.load(resnet_file, weights_only=True).items() if "running" not in n}
    torch.save(stored, tmp_path / "a.pth")
    report = load(tmp_path / "a.pth", config=config, transfer={"require": 0})
    assert report.probe.reason == "the source's own backbone cannot be built (bn1.running_mean is not in it)"


def test_an_activation_that_transformers_lost_is_seen(tmp_path: Path) -> None:
    """Its own DETR on EfficientNet computes without activations; ours has them."""
    torch.manual_seed(0)
    model = DetrForObjectDetection(DetrConfig(**SIZE, backbone="efficientnet_b0"))
    model.save_pretrained(tmp_path)
    report = load(tmp_path)
    assert report.backbone_share() == 1.0
    assert report.warning is not None


@pytest.mark.parametrize(
    "backbone", first_of(name for name in BACKBONES if name not in ("resnet50", "resnet101"))
)
def test_a_checkpoint_of_ours_gives_the_same_features(backbone: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, architecture, _ = load_model("detr", ["a", "b"], config={**SIZE, "backbone": backbone})
    state = {f"detr.{name}": tensor for name, tensor in model.state_dict().items()}
    content = {"state_dict": state, "hyper_parameters": {"architecture": architecture.__dict__}}
    torch.save(content, tmp_path / "a.ckpt")
    report = load_model("detr", ["b"], pretrained=str(tmp_path / "a.ckpt"))[2]
    assert report.backbone_share() == 1.0
    assert report.probe.alike
    assert report.classes == {"b": "b"}
    assert not report.live_batch_norm


def test_where_nothing_can_be_compared_it_is_said(tmp_path: Path) -> None:
    folder = pretrained("detr", ["a"], tmp_path)
    report = load(folder / "model.safetensors", config=TINY["detr"])
    assert report.probe.levels == ()
    assert (
        "  backbone features were not compared: the source does not say which backbone it is"
        in report.lines()
    )
    assert load(folder, transfer={"probe": False}).probe.reason == ""
