import re
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from detr_diff.errors import SettingError
from detr_diff.model.block_names import ALIASES, BLOCKS
from detr_diff.model.blocks import rate_groups
from detr_diff.model.selection import ParameterNames
from tests.model.tiny_models import FAMILIES as TINY
from tests.model.tiny_models import MODELS, build, built, grouped, set_learning


@pytest.fixture(scope="module")
def deep() -> tuple[nn.Module, Any]:
    return build("detr resnet18", encoder_layers=3, decoder_layers=4)


def layers_of(names: frozenset[str]) -> set[str]:
    return {".".join(name.split(".")[:4]) for name in names}


def test_layers_are_counted_like_a_list(deep: tuple[nn.Module, Any]) -> None:
    names = ParameterNames(*deep)
    last = names.select(["decoder[-2:]"], "learn")
    ends = ("layers.2", "layers.3", "layernorm.weight", "layernorm.bias")
    assert layers_of(last) == {f"model.decoder.{end}" for end in ends}
    assert layers_of(names.select(["decoder[:1]"], "learn")) == {"model.decoder.layers.0"}
    rest = names.select(["decoder[:-2]"], "learn")
    assert not rest & last
    assert rest | last == names.select(["decoder"], "learn")
    backbone = names.select(["layer3[-1:]"], "learn")
    assert all(name.startswith("model.backbone.model.layer3.1.") for name in backbone)
    assert backbone


@pytest.mark.parametrize("key", MODELS)
def test_layers_of_a_block_are_the_block(key: str) -> None:
    names = ParameterNames(*built(key))
    for block in BLOCKS:
        layers = names.layers(block)
        listed = [name for layer in layers for name in layer]
        assert sorted(listed) == sorted(names.select([block], "learn"))
        assert all(layers)
    if key != "deformable_detr two stages":
        assert len(names.layers("decoder")) == 2


def test_layers_of_several_blocks_are_one_stack(deep: tuple[nn.Module, Any]) -> None:
    names = ParameterNames(*deep)
    # Three layers of the encoder and four of the decoder; the projection goes with the first, the
    # queries with the last.
    stack = names.layers(*ALIASES["transformer"])
    assert len(stack) == 7
    assert "model.input_projection.weight" in stack[0]
    assert "model.query_position_embeddings.weight" in stack[-1]
    assert names.select(["transformer[-4:]"], "x") == names.select(["decoder", "queries"], "x")
    # Two residual blocks in each of four stages; the stem goes with the first.
    first = names.select(["backbone[:1]"], "x")
    assert {names.blocks[name] for name in first} == {"stem", "layer1"}
    assert names.select(["backbone[-2:]"], "x") == names.select(["layer4"], "x")
    both = names.select(["backbone[:-3]"], "x"), names.select(["backbone[-3:]"], "x")
    assert not both[0] & both[1]
    assert both[0] | both[1] == names.select(["backbone"], "x")
    assert names.select(["heads[-1:]"], "x") == names.select(["heads"], "x")


def test_what_is_frozen_wins(deep: tuple[nn.Module, Any]) -> None:
    names = ParameterNames(*deep)
    chosen = names.learning(["all"], ["backbone[:-3]", "/.*norm.*/"], "stages.a")
    assert names.blocks.keys() - chosen == names.select(["backbone[:-3]", "/.*norm.*/"], "x")
    with pytest.raises(SettingError, match=re.escape("stages.a.freeze: /x/ matches no parameter")):
        names.learning(["all"], ["/x/"], "stages.a")


def test_an_expression_matches_whole_names(deep: tuple[nn.Module, Any]) -> None:
    names = ParameterNames(*deep)
    found = names.select([r"/.*self_attn\.[qk]_proj\.weight/"], "learn")
    assert len(found) == 2 * (3 + 4)
    assert names.select(["heads", r"/.*self_attn\.q_proj\.bias/"], "learn") > names.select(["heads"], "learn")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("encodr", "here: unknown block 'encodr', did you mean encoder"),
        ("encodr[-1:]", "here: unknown block 'encodr', did you mean encoder"),
        ("decoder[7:]", "here: decoder[7:] matches no parameter, decoder has 4 layers"),
        ("backbone[8:]", "here: backbone[8:] matches no parameter, backbone has 8 layers"),
        (
            "/layer3/",
            "here: /layer3/ matches no parameter, it must match a whole name, as /.*layer3.*/, which ",
        ),
        ("/model.decodr.layers/", "layers/ matches no parameter, did you mean model.decoder.layers"),
        ("/xyz/", "here: /xyz/ matches no parameter, names are like model.backbone.model.conv1.weight"),
        ("/(/", "here: /(/ is no regular expression"),
    ],
)
def test_a_word_that_means_nothing_is_told(word: str, message: str, deep: tuple[nn.Module, Any]) -> None:
    with pytest.raises(SettingError, match=re.escape(message)):
        ParameterNames(*deep).select([word], "here")


@pytest.mark.parametrize("key", TINY)
def test_what_is_not_chosen_does_not_change(key: str) -> None:
    torch.manual_seed(0)
    model, family = build(key)
    words = ["decoder[-1:]", "layer2", "/.*bbox.*/"]
    chosen = ParameterNames(model, family).select(words, "learn")
    optimizer = AdamW([{**group, "lr": 0.01} for group in grouped(model, family, 0.5)])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    labels = [{"boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]]), "class_labels": torch.tensor([1])}] * 2
    for _ in range(5):
        model.train()
        set_learning(model, family, words)
        optimizer.zero_grad()
        model(pixel_values=torch.randn(2, 3, 64, 64), labels=labels).loss.backward()
        optimizer.step()
    modules = {name.rpartition(".")[0] for name in chosen}
    same = {id(parameter) for name, parameter in model.named_parameters() if name in chosen}
    for name, tensor in model.state_dict(keep_vars=True).items():
        learns = id(tensor) in same or ("running" in name and name.rpartition(".")[0] in modules)
        if not learns and "num_batches_tracked" not in name:
            assert torch.equal(tensor, before[name]), name
    for name, parameter in model.named_parameters():
        if name in chosen and parameter.requires_grad:
            assert not torch.equal(parameter, before[name]), name


def test_dropout_goes_with_its_layer() -> None:
    model, family = build("detr", dropout=0.5)
    set_learning(model, family, ["decoder[-1:]"])
    modes = {name: module.training for name, module in model.named_modules()}
    assert modes["model.decoder.layers.1"]
    assert modes["model.decoder.layers.1.mlp.activation_fn"]
    assert not modes["model.decoder.layers.0.mlp.activation_fn"]
    assert not modes["model.encoder.layers.0"]


@pytest.mark.parametrize("key", MODELS)
def test_multiples_split_groups_and_lose_nothing(key: str) -> None:
    model, family = built(key)
    table = {"backbone": 0.1, "decoder[-1:]": 2.0, "/.*bias/": 0.0}
    groups = grouped(model, family, 0.1, table, layer_decay=0.5)
    ids = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(ids) == sorted(id(parameter) for parameter in model.parameters())
    rate = {id(p): group["multiple"] for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert rate[id(parameter)] == 0.0, name


def test_multiples_are_those_of_the_table(deep: tuple[nn.Module, Any]) -> None:
    model, family = deep
    groups = grouped(model, family, 0.1, {"all": 0.5, "backbone": 0.1, "stem": 0.0})
    assert {group["block"]: group["multiple"] for group in groups} == {
        **dict.fromkeys(BLOCKS, 0.5),
        **dict.fromkeys(("layer1", "layer2", "layer3", "layer4"), 0.1),
        "stem": 0.0,
    }
    plain = grouped(model, family, 0.1)
    assert [group["block"] for group in groups] == [group["block"] for group in plain]
    assert {group["multiple"] for group in plain} == {1.0}


def test_rates_decay_by_depth(deep: tuple[nn.Module, Any]) -> None:
    """Heads 1, then a half for each of 4 + 3 layers, the projection, and 2 residual blocks a stage."""
    model, family = deep
    groups = grouped(model, family, 0.1, layer_decay=0.5)
    rate = {id(p): group["multiple"] for group in groups for p in group["params"]}
    expected = {
        "class_labels_classifier.weight": 0,
        "model.query_position_embeddings.weight": 0,
        "model.decoder.layernorm.weight": 1,
        "model.decoder.layers.3.mlp.fc1.weight": 1,
        "model.decoder.layers.0.mlp.fc1.weight": 4,
        "model.encoder.layers.2.mlp.fc1.weight": 5,
        "model.encoder.layers.0.mlp.fc1.weight": 7,
        "model.input_projection.weight": 8,
        "model.backbone.model.layer4.1.conv1.weight": 9,
        "model.backbone.model.layer4.0.conv1.weight": 10,
        "model.backbone.model.layer1.0.conv1.weight": 16,
        "model.backbone.model.conv1.weight": 17,
    }
    parameters = dict(model.named_parameters())
    for name, depth in expected.items():
        assert rate[id(parameters[name])] == 0.5**depth, name


@pytest.mark.parametrize(
    ("table", "layer_decay", "message"),
    [
        ({"headz": 2}, None, "optimizer.multiples: unknown block 'headz', did you mean heads"),
        ({"heads": -1}, None, "optimizer.multiples.heads=-1: a number from 0"),
        ([2], None, "optimizer.multiples=[2]: a map of blocks, layers or expressions to factors"),
        ({"/.*nrm/": 2}, None, "optimizer.multiples: /.*nrm/ matches no parameter"),
        ({}, 1.5, "optimizer.layer_decay=1.5: a factor above 0, at most 1"),
    ],
)
def test_a_wrong_multiple_is_told(
    table: dict[str, float], layer_decay: float | None, message: str, deep: tuple[nn.Module, Any]
) -> None:
    with pytest.raises(SettingError, match=re.escape(message)):
        grouped(*deep, 0.1, table, layer_decay)


def test_a_divided_block_has_a_group_for_each_multiple(deep: tuple[nn.Module, Any]) -> None:
    groups = rate_groups(ParameterNames(*deep), {"decoder[-1:]": 2.0, "stem": 0.5})
    labels = [group.label for group in groups if group.block in ("stem", "encoder", "decoder")]
    assert labels == ["stem x0.5", "encoder", "decoder x1", "decoder x2"]
