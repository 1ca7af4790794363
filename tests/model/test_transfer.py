"""What becomes of tensors that do not fit, and of those that nobody asked for."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from detr_diff.errors import SettingError
from detr_diff.model.load import load_model
from detr_diff.model.transfer_report import TransferReport
from tests.model.sources import pretrained
from tests.model.tiny_models import FAMILIES as TINY
from tests.model.tiny_models import LAST, MODELS, SIZE

STEM = "model.backbone.model.embedder.embedder.convolution.weight"
QUERIES = "model.query_position_embeddings.weight"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrained("detr", ["dog", "person", "car"], tmp_path_factory.mktemp("detr"))


@pytest.fixture(scope="module")
def stored(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def load(
    folder: Path, names: tuple[str, ...] = ("car", "person"), *, transfer: dict[str, Any], **settings: Any
) -> tuple[dict[str, Tensor], TransferReport]:
    torch.manual_seed(3)
    model, _, report = load_model("detr", names, pretrained=str(folder), transfer=transfer, **settings)
    return model.state_dict(), report


def actions(report: TransferReport, block: str) -> set[str]:
    return set(report.counts()[block])


def test_a_stem_for_more_channels(folder: Path, stored: dict[str, Tensor]) -> None:
    kernel = stored["model.backbone.conv_encoder.model.embedder.embedder.convolution.weight"]
    for word, expected in (
        ("repeat", torch.cat([kernel] * 3, 1) / 3),
        ("mean", kernel.mean(1, keepdim=True).expand(-1, 9, -1, -1) / 3),
    ):
        state, report = load(folder, transfer={"channels": word}, channels=9)
        torch.testing.assert_close(state[STEM], expected)
        assert report.probe.alike, word
        assert report.backbone_share() == 1.0
    state, report = load(folder, transfer={"channels": "skip"}, channels=9)
    (stem,) = (tensor for tensor in report.tensors if tensor.name == STEM)
    assert (stem.action, stem.source_shape, stem.shape) == ("other shape", (8, 3, 7, 7), (8, 9, 7, 7))
    assert report.warning is not None
    assert "1 of its 60 tensors did not arrive" in report.warning


@pytest.mark.parametrize(("queries", "rows"), [(4, [0, 1, 2, 3]), (8, [0, 1, 2, 3, 4, 5, 0, 1])])
def test_fewer_and_more_queries(
    folder: Path, stored: dict[str, Tensor], queries: int, rows: list[int]
) -> None:
    state, report = load(folder, transfer={}, config={"num_queries": queries})
    assert torch.equal(state[QUERIES], stored[QUERIES][rows])
    assert actions(report, "queries") == {"queries"}
    state, report = load(folder, transfer={"queries": "skip"}, config={"num_queries": queries})
    assert actions(report, "queries") == {"other shape"}
    assert not torch.isin(state[QUERIES], stored[QUERIES]).any()


def test_other_shapes(folder: Path, stored: dict[str, Tensor]) -> None:
    config = {"decoder_ffn_dim": 24}
    name, old = "model.decoder.layers.1.mlp.fc1.weight", "model.decoder.layers.1.fc1.weight"
    state, report = load(folder, transfer={}, config=config)
    assert not torch.isin(state[name], stored[old]).any()
    lost = {tensor.name for tensor in report.tensors if tensor.action == "other shape"}
    parts = ("fc1.weight", "fc1.bias", "fc2.weight")
    assert lost == {f"model.decoder.layers.{layer}.mlp.{part}" for layer in (0, 1) for part in parts}
    assert {f"model.decoder.layers.{layer}.{part}" for layer in (0, 1) for part in parts} <= set(
        report.unused
    )
    state, report = load(folder, transfer={"mismatch": "slice"}, config=config)
    assert torch.equal(state[name], stored[old][:24])
    assert report.counts()["decoder"]["sliced"] == 6
    _, report = load(folder, transfer={"mismatch": "interpolate"}, config=config)
    assert report.counts()["decoder"]["other shape"] == 6


def test_kernels_and_positions_are_interpolated(tmp_path: Path) -> None:
    config = {**TINY["detr"], "position_embedding_type": "learned"}
    model, _, _ = load_model("detr", ["a"], config=config)
    tensors = dict(model.state_dict())
    positions = tensors["model.position_embedding.row_embeddings.weight"]
    tensors["model.position_embedding.row_embeddings.weight"] = positions[::2].contiguous()
    stem = tensors[STEM]
    tensors[STEM] = stem[:, :, 1:-1, 1:-1].contiguous()
    torch.save(tensors, tmp_path / "a.pth")
    state, report = load(tmp_path / "a.pth", ("a",), transfer={"mismatch": "interpolate"}, config=config)
    changed = {tensor.name for tensor in report.tensors if tensor.action == "interpolated"}
    assert changed == {"model.position_embedding.row_embeddings.weight", STEM}
    assert state[STEM].shape == (8, 3, 7, 7)
    ends = state["model.position_embedding.row_embeddings.weight"][[0, -1]]
    torch.testing.assert_close(ends, positions[::2][[0, -1]])


@pytest.mark.parametrize("only", ["layer1", ["layer1", "layer2"], "encoder", ["backbone", "queries"]])
def test_only_some_blocks(folder: Path, only: Any) -> None:
    _, report = load(folder, transfer={"only": only})
    wanted = {only} if isinstance(only, str) else set(only)
    if "backbone" in wanted:
        wanted |= {"stem", "layer1", "layer2", "layer3", "layer4"}
    for block in report.counts():
        assert actions(report, block) == ({"copied"} if block in wanted else {"not asked for"}), block
    assert report.live_batch_norm is ("layer4" not in wanted)  # most of the backbone is random
    assert report.warning is None


def test_a_backbone_goes_into_another_family(folder: Path) -> None:
    with pytest.raises(
        SettingError, match="holds detr, not conditional_detr; model.transfer.only=backbone takes"
    ):
        load_model("conditional_detr", ["a"], pretrained=str(folder))
    settings = {"only": "backbone"}
    config = TINY["conditional_detr"]
    _, architecture, report = load_model(
        "conditional_detr", ["a"], pretrained=str(folder), config=config, transfer=settings
    )
    assert report.backbone_share() == 1.0
    assert report.probe.alike
    assert not architecture.live_batch_norm


@pytest.mark.parametrize("init", ["default", "xavier", "kaiming", "trunc_normal"])
def test_the_rest_starts_as_asked(folder: Path, init: str) -> None:
    state, report = load(folder, ("a", "b"), transfer={"only": "backbone", "init": init})
    name = "model.encoder.layers.0.mlp.fc1.weight"
    plain, _ = load(folder, ("a", "b"), transfer={"only": "backbone"})
    assert torch.equal(state[name], plain[name]) is (init == "default")
    weight = state[name]  # [32, 32]
    bounds = {"xavier": (6 / 64) ** 0.5, "trunc_normal": 0.04, "kaiming": 5 * (2 / 32) ** 0.5, "default": 1.0}
    assert weight.abs().max() <= bounds[init]
    deviations = {"xavier": (2 / 64) ** 0.5, "trunc_normal": 0.0176, "kaiming": (2 / 32) ** 0.5}
    if init in deviations:
        assert float(weight.std()) == pytest.approx(deviations[init], rel=0.1)
    for kept in ("model.encoder.layers.0.final_layer_norm.weight", "class_labels_classifier.bias"):
        assert torch.equal(state[kept], plain[kept])
    assert report.backbone_share() == 1.0


def test_what_starts_at_zero_stays_there() -> None:
    """Deformable attention looks in fixed directions at first."""
    model, _, _ = load_model(
        "deformable_detr", ["a"], config=TINY["deformable_detr"], transfer={"init": "xavier"}
    )
    state = model.state_dict()
    zero = {name for name, tensor in state.items() if tensor.ndim > 1 and not tensor.any()}
    parts = ("self_attn.sampling_offsets", "self_attn.attention_weights")
    assert {f"model.encoder.layers.0.{part}.weight" for part in parts} <= zero


def test_fresh_class_head(folder: Path, stored: dict[str, Tensor]) -> None:
    state, report = load(folder, ("dog", "person", "car"), transfer={"class_head": "fresh"})
    assert actions(report, "class_head") == {"not asked for"}
    assert not torch.isin(
        state["class_labels_classifier.weight"], stored["class_labels_classifier.weight"]
    ).any()


def test_classes_that_nobody_names_are_not_guessed(
    folder: Path, stored: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    save_file(stored, path)
    config = TINY["detr"]
    _, report = load(path, ("x", "y", "z"), transfer={}, config=config)
    assert actions(report, "class_head") == {"no class"}
    assert any("give model.transfer.class_names" in line for line in report.lines())
    names = ["dog", "person", "car"]
    state, report = load(path, ("car", "cat"), transfer={"class_names": names}, config=config)
    assert report.classes == {"car": "car", "cat": None}
    weight = stored["class_labels_classifier.weight"]
    assert torch.equal(state["class_labels_classifier.weight"][[0, 2]], weight[[2, 3]])


def damaged(stored: dict[str, Tensor], path: Path, name: str, value: Tensor) -> Path:
    save_file({**stored, name: value.contiguous()}, path / "a.safetensors")
    return path / "a.safetensors"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.clone().fill_(torch.nan), "is damaged: 8192 of its 8192 values are not finite"),
        (
            lambda t: t.clone().index_fill_(0, torch.tensor([0]), torch.inf),
            "is damaged: 256 of its 8192 values",
        ),
        (lambda t: t.to(torch.int32), "is damaged: it holds torch.int32, not floating-point numbers"),
        (lambda t: t.T, "is [32, 256], but [256, 32] in the source: it is transposed there"),
    ],
    ids=["nan", "inf", "integer", "transposed"],
)
def test_a_damaged_tensor_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    config = {**SIZE, "encoder_ffn_dim": 256, "backbone_config": LAST}
    model, _, _ = load_model("detr", ["a"], config=config)
    name = "model.encoder.layers.0.mlp.fc2.weight"
    path = damaged(dict(model.state_dict()), tmp_path, name, change(model.state_dict()[name]))
    with pytest.raises(SettingError, match=re.escape(message)):
        load_model("detr", ["a"], pretrained=str(path), config=config)


def test_a_negative_variance_is_refused(stored: dict[str, Tensor], tmp_path: Path) -> None:
    name = "model.backbone.conv_encoder.model.embedder.embedder.normalization.running_var"
    path = damaged(stored, tmp_path, name, -stored[name])
    with pytest.raises(SettingError, match=f"{name} is damaged: a variance is negative"):
        load_model("detr", ["a"], pretrained=str(path), config=TINY["detr"])


def test_too_little_of_the_backbone_is_refused(stored: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({n: t for n, t in stored.items() if "running" not in n}, path)
    with pytest.raises(SettingError) as refused:
        load_model("detr", ["a"], pretrained=str(path), config=TINY["detr"])
    assert str(refused.value) == (
        f"model.pretrained={path}: 36 of the backbone's 60 tensors arrived, model.transfer.require=0.95; "
        "not: model.backbone.model.embedder.embedder.normalization.running_mean (not in source), "
        "model.backbone.model.embedder.embedder.normalization.running_var (not in source), "
        "model.backbone.model.encoder.stages.0.layers.0.layer.0.normalization.running_mean "
        "(not in source), ..."
    )
    _, report = load(path, transfer={"require": 0.6}, config=TINY["detr"])
    assert report.live_batch_norm  # without statistics a frozen one would normalise nothing


def test_a_source_of_which_nothing_fits_is_refused(tmp_path: Path) -> None:
    torch.save({"layer1.0.conv1.weight": torch.zeros(1, 1, 1, 1)}, tmp_path / "a.pth")
    with pytest.raises(SettingError, match="none of its tensors .* fits the model"):
        load_model("detr", ["a"], pretrained=str(tmp_path / "a.pth"), config=TINY["detr"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"only": "layer9"}, "model.transfer.only: unknown block 'layer9', did you mean layer4"),
        ({"only": []}, "model.transfer.only=[]: no block is taken"),
        ({"mismatch": "crop"}, "model.transfer.mismatch=crop: allowed: skip, slice, interpolate"),
        ({"init": "xavir"}, "model.transfer.init=xavir: did you mean xavier?"),
        ({"require": 95}, "model.transfer.require=95: a share from 0 to 1"),
        ({"requires": 1}, "model.transfer.requires: unknown, did you mean require"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=re.escape(message)):
        load_model("detr", ["a"], config=MODELS["detr"][1], transfer=settings)
