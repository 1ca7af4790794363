import pytest
import torch
from torch import nn
from torch.optim import AdamW

from detr_diff.errors import SettingError
from detr_diff.model.block_map import BlockMap
from detr_diff.model.block_names import ALIASES, BLOCKS, expand
from detr_diff.model.blocks import rate_groups
from detr_diff.model.families import BACKBONE, FAMILIES
from detr_diff.model.selection import ParameterNames
from tests.model.tiny_models import BACKBONES, FIRST, MODELS, build, built, grouped, set_learning
from tests.model.tiny_models import FAMILIES as TINY


@pytest.mark.parametrize("key", MODELS)
def test_groups_cover_every_parameter_once(key: str) -> None:
    model, family = built(key)
    groups = grouped(model, family, 0.01)
    ids = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(ids) == sorted(id(parameter) for parameter in model.parameters())
    blocks = [group.block for group in rate_groups(ParameterNames(model, family))]
    assert blocks == list(BLOCKS)
    for group in groups:
        decays = group["weight_decay"] > 0
        assert all((parameter.ndim > 1) is decays for parameter in group["params"])


SOME = ["layer1", "decoder", "class_head"]
OTHERS = ["stem", "layer2", "layer4", "input_projection", "encoder", "queries", "box_head"]
# Going back through a hundred layers twenty times is slow, and their names are a smaller ResNet's.
LARGE = ("detr resnet50", "detr resnet101")
NAMED = [*TINY, *(f"detr {backbone}" for backbone in BACKBONES)]
CASES = [
    *(
        pytest.param(
            key,
            SOME[1:] if key in LARGE else SOME,
            id=key,
            marks=() if key in FIRST else pytest.mark.exhaustive,
        )
        for key in NAMED
    ),
    pytest.param("detr", OTHERS, id="detr others"),
]


@pytest.mark.parametrize(("key", "learn"), CASES)
def test_frozen_blocks_do_not_change(key: str, learn: list[str]) -> None:
    torch.manual_seed(0)
    model, family = built(key)
    learning = expand(learn, "here")
    groups = grouped(model, family, 0.5)
    optimizer = AdamW([{**group, "lr": 0.01} for group in groups])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    labels = [{"boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]]), "class_labels": torch.tensor([1])}] * 2
    model.train()
    set_learning(model, family, learning)
    for _ in range(20):
        optimizer.zero_grad()
        model(pixel_values=torch.randn(2, 3, 32, 32), labels=labels).loss.backward()
        optimizer.step()
    blocks = BlockMap(model, family)
    changed = {blocks.of(n) for n, tensor in model.state_dict().items() if not torch.equal(tensor, before[n])}
    assert changed == set(learning)


def test_constants_never_learn() -> None:
    model, family = built("d_fine")
    set_learning(model, family, BLOCKS)
    fixed = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert fixed == ["model.decoder.reg_scale", "model.decoder.up"]


def test_dropout_of_a_frozen_block_is_off() -> None:
    model, family = built("detr")
    set_learning(model, family, expand(["heads"], "here"))
    blocks = BlockMap(model, family)
    modes = {blocks.of(f"{name}."): module.training for name, module in model.named_modules()}
    assert modes["encoder"] is modes["decoder"] is modes["stem"] is False
    assert modes["class_head"] is modes["box_head"] is True


def test_heads_in_a_frozen_decoder_learn_after_every_layer() -> None:
    """D-FINE scores the queries after each layer only while its decoder is in training mode."""
    model, family = build("d_fine")
    set_learning(model, family, ["heads"])
    assert not any(module.training for module in model.model.decoder.layers.modules())
    labels = [{"boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]]), "class_labels": torch.tensor([1])}] * 2
    model(pixel_values=torch.randn(2, 3, 64, 64), labels=labels).loss.backward()
    for layer in (0, 1):
        gradient = model.class_embed[layer].weight.grad
        assert gradient is not None, layer
        assert gradient.any(), layer


@pytest.mark.parametrize(
    ("backbone", "ends"),
    [
        ("resnet18", ("bn1", "layer1.1", "layer2.1", "layer3.1", "layer4.1")),
        ("efficientnet_b0", ("blocks.0", "blocks.1", "blocks.2", "blocks.4", "blocks.6")),
        ("mobilenetv3_small_100", ("bn1", "blocks.0", "blocks.1", "blocks.3", "blocks.5")),
    ],
)
def test_a_block_ends_where_the_stride_does(backbone: str, ends: tuple[str, ...]) -> None:
    model, family = built(f"detr {backbone}")
    blocks = BlockMap(model, family)
    names = [name for name in model.state_dict() if name.startswith(BACKBONE)]
    last = {blocks.of(name): name.removeprefix(BACKBONE) for name in names}
    for block, end in zip(ALIASES["backbone"], ends, strict=True):
        assert last[block].startswith(f"{end}."), (block, last[block])


def test_a_parameter_outside_all_blocks_is_an_error() -> None:
    with pytest.raises(ValueError, match="parameter 0.weight belongs to no block"):
        ParameterNames(nn.Sequential(nn.Linear(2, 2)), FAMILIES["detr"])


def test_an_unknown_block_is_named_with_near_ones() -> None:
    with pytest.raises(SettingError, match="stages.x.learn: unknown block 'backbon', did you mean backbone"):
        expand(["backbon"], "stages.x.learn")


def test_every_layer_is_learnt_from_whatever_is_frozen() -> None:
    """D-FINE collects what its decoder layers say, for their losses, only in training."""
    model, family = build("d_fine")
    labels = [{"boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]]), "class_labels": torch.tensor([1])}]
    kinds = []
    for learning in (["all"], ["backbone"]):
        model.train()
        set_learning(model, family, learning)
        output = model(pixel_values=torch.rand(1, 3, 64, 64), labels=labels)
        kinds.append(sorted(name for name in output.loss_dict if "_aux_" in name))
    assert kinds[0] == kinds[1] != []
    layer = model.model.decoder.layers[0]
    assert not any(part.training for part in layer.modules())
