"""DETR-R50 with 91 classes, as its publishers name its tensors, arrives whole."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from detr_diff.errors import SettingError
from detr_diff.model.block_names import ALIASES
from detr_diff.model.load import load_model
from tests.model import published_names as published

OURS = ["car", "van", "person"]
COCO_IDS = {"person": 1, "car": 3}


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return published.filled(published.facebook())


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A place for 160 MB that are gone after the test."""
    yield tmp_path / "r50"
    for path in tmp_path.glob("r50*"):
        path.unlink()


def test_there_are_as_many_parameters_as_published(tensors: dict[str, Tensor]) -> None:
    """facebookresearch/detr counts what it trains: not the stem, layer1 and the norms of the backbone."""
    fixed = ("bn", "downsample.1", "running", "body.conv1", "layer1")
    learnt = [t for n, t in tensors.items() if not ("body" in n and any(part in n for part in fixed))]
    assert sum(tensor.numel() for tensor in learnt) == 41_302_368


@pytest.mark.parametrize("naming", ["facebookresearch/detr", "transformers", "transformers, older names"])
def test_every_tensor_arrives_bit_for_bit(naming: str, tensors: dict[str, Tensor], file: Path) -> None:
    expected = published.in_transformers(tensors)
    if naming == "facebookresearch/detr":
        path = file.with_suffix(".pth")
        torch.save({"model": tensors}, path)
    else:
        path = file.with_suffix(".safetensors")
        renamed = expected if naming == "transformers" else published.in_older_transformers(expected)
        save_file({name: tensor.contiguous() for name, tensor in renamed.items()}, path)
    model, architecture, report = load_model("detr", OURS, pretrained=str(path))
    assert report.naming == naming
    assert report.unused == {}
    assert not architecture.live_batch_norm
    state = model.state_dict()
    head = ("class_labels_classifier.weight", "class_labels_classifier.bias")
    assert set(state) == set(expected)
    for name, tensor in expected.items():
        if name not in head:
            assert torch.equal(state[name], tensor), name
    for name in head:
        for row, ours in enumerate(OURS):
            if ours in COCO_IDS:
                assert torch.equal(state[name][row], expected[name][COCO_IDS[ours]]), ours
        assert torch.equal(state[name][-1], expected[name][-1])  # no-object
    assert report.classes == {"car": "car", "van": None, "person": "person"}
    assert {tensor.name for tensor in report.tensors if tensor.action != "copied"} == set(head)
    assert all(tensor.equal for tensor in report.tensors)
    assert report.backbone_share() == 1.0
    if naming == "facebookresearch/detr":  # the others do not say which ResNet it is
        assert [level.stride for level in report.probe.levels] == [4, 8, 16, 32]
        assert report.probe.alike


def test_a_torchvision_backbone_arrives_bit_for_bit(file: Path) -> None:
    backbone = published.filled(published.resnet50())
    path = file.with_suffix(".pth")
    classifier = {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    torch.save({**backbone, **classifier}, path)
    model, _, report = load_model("detr", OURS, pretrained=str(path))
    state = model.state_dict()
    for name, tensor in backbone.items():
        assert torch.equal(state[f"model.backbone.model.{name}"], tensor), name
    assert report.naming == "torchvision and timm, backbone only"
    backbone_blocks = ALIASES["backbone"]
    for block, row in report.counts().items():
        assert set(row) == ({"copied"} if block in backbone_blocks else {"not in source"}), block
    assert set(report.unused) == {"fc.weight", "fc.bias"}
    assert report.probe.alike

    with pytest.raises(
        SettingError, match=r"of the backbone's 100 tensors arrived, model.transfer.require=0.95; not: "
    ):
        load_model("detr", OURS, pretrained=str(path), config={"backbone": "resnet18"})
