"""What is changed is changed, and everything else is as in the untouched model."""

import copy
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from detr_diff.errors import SettingError
from detr_diff.model.architecture import Architecture, build_model
from detr_diff.model.block_names import BLOCKS
from detr_diff.model.blocks import rate_groups
from detr_diff.model.families import FAMILIES as TABLE
from detr_diff.model.load import load_model
from detr_diff.model.naming import DERIVED
from detr_diff.model.positions import LearnedPositions
from detr_diff.model.prefix import deepest_cut, keep, replay
from detr_diff.model.selection import ParameterNames
from detr_diff.training.run import load_detector
from tests.conftest import TINY
from tests.model.tiny_models import FAMILIES, MODELS, OLD, build, first_of, set_learning

KEYS = [*FAMILIES, "deformable_detr two stages"]
# What adds nothing at first, and the names of the new tensors.
NEUTRAL = [
    (
        {"adapter": 4, "class_layers": 2, "box_layers": 1, "dropout": 0.5},
        r".*(input_proj|class_|bbox_).*\.adapter\..*",
    ),
    ({"class_layers": 1, "head_width": 5}, r".*class_.*\.adapter\.0\..*"),
    (
        {"heads": "per_layer", "class_layers": 1},
        r".*(class_|bbox_).*\.(own\.\d+\.(weight|bias)|adapter\..*)",
    ),
]
OTHERS = [
    ({"positions": "learned"}, r".*position_embedding\.(row|column)_embeddings\.weight"),
    ({"position_scale": 0.5}, "none"),
    ({"activation": "gelu"}, "none"),
    ({"attention_heads": 4}, "none"),
    ({"decoder_attention_heads": 4}, "none"),
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The weights of a model as a file, and the model with them."""
    folder, made = tmp_path_factory.mktemp("sources"), {}

    def get(key: str) -> str:
        if key not in made:
            torch.manual_seed(0)
            model = build(key)[0]
            # As they start, some weights are zero and small networks forget the image on its way.
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.ndim == 4:
                        nn.init.kaiming_normal_(parameter)
                    else:
                        parameter.add_(0.05 * torch.randn_like(parameter))
            state = model.state_dict()
            made[key] = str(folder / f"{key}.safetensors")
            save_file({name: tensor.clone().contiguous() for name, tensor in state.items()}, made[key])
        return made[key]

    return get


def changed(key: str, source: str, **modification: Any) -> nn.Module:
    name, config = MODELS[key]
    transfer = {"class_names": ["a", "b"], "probe": False}
    return load_model(
        name, ["a", "b"], pretrained=source, config=config, transfer=transfer, modification=modification
    )[0]


def answer(model: nn.Module) -> Tensor:
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output = model.eval()(pixel_values=images)
    return torch.cat([output.logits, output.pred_boxes], -1)


@pytest.mark.parametrize("key", first_of(KEYS))
def test_what_is_not_touched_stays(key: str, source: Callable[[str], str]) -> None:
    untouched = changed(key, source(key))
    before, expected = untouched.state_dict(), answer(untouched)
    for modification, new in NEUTRAL + OTHERS:
        if key not in ("detr", "conditional_detr") and "attention_heads" in str(modification):
            continue  # in deformable attention the number of heads is in the shapes
        if key == "conditional_detr" and "heads" in modification:
            continue  # it is refused
        model = changed(key, source(key), **modification)
        after = model.state_dict()
        added = after.keys() - before.keys()
        assert before.keys() <= after.keys()
        assert all(re.fullmatch(new, name) for name in added), (modification, added)
        assert bool(added) is (new != "none")
        for name, tensor in before.items():
            if not DERIVED.search(name):
                assert torch.equal(after[name], tensor), (modification, name)
        same = torch.equal(answer(model), expected)
        assert same is ((modification, new) in NEUTRAL), modification


@pytest.mark.parametrize("key", first_of(FAMILIES))
def test_the_number_of_queries_is_all_that_changes(key: str, source: Callable[[str], str]) -> None:
    before = changed(key, source(key)).state_dict()
    model = changed(key, source(key), queries=4)
    assert answer(model).shape[1] == 4
    rows = TABLE[MODELS[key][0]].query_rows
    for name, tensor in model.state_dict().items():
        if not DERIVED.search(name):
            expected = before[name][:4] if re.fullmatch(rows, name) else before[name]
            assert torch.equal(tensor, expected), name


@pytest.mark.parametrize("key", first_of([*FAMILIES, "deformable_detr two stages"]))
def test_what_is_new_learns_and_belongs_to_a_block(key: str, source: Callable[[str], str]) -> None:
    torch.manual_seed(0)
    new = {"adapter": 4, "class_layers": 1, "box_layers": 1, "positions": "learned", "position_scale": 0.5}
    if key != "conditional_detr":
        new["heads"] = "per_layer"
    model = changed(key, source(key), **new)
    family = TABLE[MODELS[key][0]]
    set_learning(model, family, ["all"])
    names = ParameterNames(model, family)
    assert {group.block for group in rate_groups(names)} >= set(BLOCKS) - {"queries"}
    labels = [{"boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]]), "class_labels": torch.tensor([1])}] * 2
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(pixel_values=torch.randn(2, 3, 64, 64), labels=labels).loss.backward()
        optimizer.step()
    what = r"\.adapter\.|\.own\.|row_embeddings"
    new_ones = {name: p for name, p in model.named_parameters() if re.search(what, name)}
    moved = (name for name, p in new_ones.items() if p.grad is not None and p.grad.any())
    blocks = {names.blocks[name] for name in moved}
    assert blocks == {"input_projection", "encoder", "class_head", "box_head"}


@pytest.mark.exhaustive
@pytest.mark.parametrize("key", ["rt_detr_v2", "d_fine", "deformable_detr two stages", "deformable_detr"])
def test_heads_that_share_weights_share_what_is_new(key: str, source: Callable[[str], str]) -> None:
    model = changed(key, source(key), class_layers=1)
    heads = [m for n, m in model.named_modules(remove_duplicate=False) if re.search(r"class_embed\.\d+$", n)]
    assert len(heads) > 1
    for one in heads:
        for other in heads:
            assert (one.adapter is other.adapter) is (one.weight is other.weight)


@pytest.mark.parametrize("key", first_of([key for key in KEYS if key not in ("conditional_detr", "rt_detr")]))
def test_each_layer_learns_what_is_its_own(key: str, source: Callable[[str], str]) -> None:
    model = changed(key, source(key), heads="per_layer")
    layers = model.config.decoder_layers
    own = {name: p for name, p in model.named_parameters() if ".own." in name}
    if not own and OLD:
        pytest.skip("this transformers gives each layer heads of its own")
    # Weight and bias of three linear layers of the box head and of the class head.
    assert len(own) == 2 * 4 * layers
    images = torch.randn(2, 3, 64, 64)
    labels = [{"boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]]), "class_labels": torch.tensor([1])}] * 2

    def run() -> Any:
        torch.manual_seed(0)
        return model(pixel_values=images, labels=labels)

    output = run()
    output.loss.backward()
    assert not [n for n, p in own.items() if n.endswith("bias") and (p.grad is None or not p.grad.any())]
    with torch.no_grad():
        next(p for name, p in own.items() if "class_" in name and name.endswith("bias"))[0] = 7.0
    again = run()
    assert again.loss != output.loss  # of the first layer, and no other layer answers otherwise
    assert torch.equal(again.logits, output.logits)
    assert torch.equal(again.pred_boxes, output.pred_boxes)


@pytest.mark.parametrize("key", first_of(["detr", "deformable_detr"]))
def test_what_a_layer_adds_goes_by_class_name_too(
    key: str, source: Callable[[str], str], tmp_path: Path
) -> None:
    model = changed(key, source(key), heads="per_layer")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".own." in name:
                parameter.normal_(std=0.1)
    path, (family, config) = tmp_path / "source.safetensors", MODELS[key]
    save_file({name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}, path)
    again, _, report = load_model(
        family,
        ["b", "c", "a"],
        pretrained=str(path),
        config=config,
        transfer={"class_names": ["a", "b"], "probe": False},
        modification={"heads": "per_layer"},
    )
    assert not [tensor.name for tensor in report.tensors if tensor.equal is not True]
    torch.testing.assert_close(answer(again)[..., [2, 0]], answer(model)[..., [0, 1]])


def test_layers_of_rt_detr_share_the_last_head(source: Callable[[str], str]) -> None:
    before = changed("rt_detr", source("rt_detr"))
    model = changed("rt_detr", source("rt_detr"), heads="shared", class_layers=1)
    old, new = before.state_dict(), model.state_dict()
    left = {name for name in old if re.search(r"decoder\.(class|bbox)_embed\.0", name)}
    assert left
    assert old.keys() - new.keys() == left
    assert all(torch.equal(new[name], old[name]) for name in old.keys() - left if not DERIVED.search(name))
    features = torch.randn(2, 6, 32)
    decoder = model.model.decoder
    for heads in (decoder.class_embed, decoder.bbox_embed):
        assert torch.equal(heads[0](features), heads[1](features))
    copied = copy.deepcopy(model).model.decoder.class_embed  # as an average of the weights does
    with torch.no_grad():
        copied[1].weight.zero_()
    assert torch.equal(copied[0](features), copied[1](features))
    # Those of its own it has already.
    assert changed("rt_detr", source("rt_detr"), heads="per_layer").state_dict().keys() == old.keys()


@pytest.mark.parametrize("key", first_of(KEYS))
def test_a_box_head_of_fewer_layers(key: str, source: Callable[[str], str]) -> None:
    old = changed(key, source(key)).state_dict()
    model = changed(key, source(key), box_depth=2)
    new = model.state_dict()
    left = {name for name in old if re.search(r"(bbox_predictor|bbox_embed\.\d+)\.layers\.1\.", name)}
    assert old.keys() - new.keys() == left
    assert not new.keys() - old.keys()
    assert all(torch.equal(new[name], old[name]) for name in old.keys() - left if not DERIVED.search(name))
    head = next(m for n, m in model.named_modules() if re.search(r"(bbox_predictor|bbox_embed\.0)$", n))
    features = torch.randn(2, 6, 32)
    assert torch.equal(head(features), head.layers[2](head.layers[0](features).relu()))


def test_the_same_model_is_built_again() -> None:
    torch.manual_seed(0)
    name, config = MODELS["detr"]
    new = {"adapter": 4, "box_layers": 2, "positions": "learned", "position_scale": 0.5, "activation": None}
    new |= {"heads": "per_layer", "head_width": 8, "box_depth": 2}
    model, architecture, _ = load_model(name, ["a", "b"], config=config, modification=new)
    assert architecture.modification == {key: value for key, value in new.items() if value is not None}
    again = build_model(Architecture(**asdict(architecture)))
    again.load_state_dict(model.state_dict())
    assert torch.equal(answer(again), answer(model))
    # A checkpoint from before there was any modification does not say one.
    older = {key: value for key, value in asdict(architecture).items() if key != "modification"}
    assert Architecture(**older).modification == {}


def test_learned_positions_are_those_of_transformers() -> None:
    from transformers.models.detr.modeling_detr import DetrLearnedPositionEmbedding

    ours, theirs = LearnedPositions(8), DetrLearnedPositionEmbedding(4)
    ours.load_state_dict(theirs.state_dict())
    wanted: Any = {"shape": torch.Size((2, 3, 5, 7)), "device": "cpu", "dtype": torch.float32, "mask": None}
    assert torch.equal(ours(**wanted), theirs(**wanted))
    # A map of more rows than the table: its ends are those of the table, and it is as smooth.
    large = ours(**{**wanted, "shape": torch.Size((1, 3, 99, 2))})
    assert large.shape == (1, 8, 99, 2)
    assert torch.allclose(large[0, 4:, ::2, 0].T, ours.row_embeddings.weight, atol=1e-6)


def test_a_kept_prefix_goes_on_from_a_changed_model(source: Callable[[str], str]) -> None:
    model = changed("detr", source("detr"), adapter=4, positions="learned", position_scale=0.5)
    with torch.no_grad():
        model.model.input_projection.adapter.last.weight.normal_()
    family = TABLE["detr"]
    set_learning(model, family, ["decoder", "heads"])
    cut = deepest_cut(family, ["decoder", "heads"])
    assert cut is not None
    assert cut.last == "encoder"
    images = torch.randn(2, 3, 64, 96)
    model.eval()
    with torch.no_grad():
        expected = model(pixel_values=images).logits
        with replay(model, cut, keep(model, cut, images)):
            actual = model(pixel_values=torch.zeros(2, 0, 64, 96)).logits
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("modification", "message"),
    [
        ({"position": "sine"}, "model.modification.position: unknown, did you mean positions"),
        ({"positions": "sin"}, "model.modification.positions=sin: did you mean sine"),
        ({"position_scale": -1}, "model.modification.position_scale=-1: a number from 0"),
        ({"activation": "rellu"}, "model.modification.activation=rellu: did you mean relu"),
        ({"dropout": 1}, "model.modification.dropout=1: a share from 0 to below 1"),
        ({"queries": 0}, "model.modification.queries=0: a whole number, at least 1"),
        ({"attention_heads": 5}, "model.modification.attention_heads=5: must divide d_model (32)"),
        ({"decoder_attention_heads": 5}, "model.modification.decoder_attention_heads=5: must divide d_model"),
        ({"head_width": 8}, "model.modification.head_width=8: class_layers and box_layers are 0"),
        ({"box_depth": 1}, "model.modification.box_depth=1: a whole number, at least 2"),
        ({"box_depth": 4}, "model.modification.box_depth=4: the box head has 3 layers"),
        ({"heads": "share"}, "model.modification.heads=share: did you mean shared"),
        ({"adapter_kernel": 2}, "model.modification.adapter_kernel=2: an odd number"),
        ({"class_layers": -1}, "model.modification.class_layers=-1: a whole number, at least 0"),
    ],
)
def test_a_wrong_change_is_told(modification: dict[str, Any], message: str) -> None:
    name, config = MODELS["detr"]
    with pytest.raises(SettingError, match=re.escape(message)):
        load_model(name, ["a", "b"], config=config, modification=modification)


def test_settings_change_the_model_of_a_run(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    words = ["train", *TINY, f"data.root={data_root}", f"runs={tmp_path}", "data.subset=4", "overlays=0"]
    words += ["trainer.max_epochs=1", "model.modification.adapter=4", "model.modification.box_layers=1"]
    words += ["model.modification.heads=shared"]
    result = cli(*words, "model.modification.positions=learned", "model.modification.position_scale=0.5")
    assert result.code == 0, result.err
    detector, _ = load_detector(tmp_path / "train/checkpoints/best.ckpt")
    assert detector.architecture.modification == {
        "positions": "learned",
        "position_scale": 0.5,
        "adapter": 4,
        "box_layers": 1,
        "heads": "shared",
    }
    assert any(".adapter." in name for name in detector.state_dict())
