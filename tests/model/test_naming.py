import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from transformers import AutoBackbone, HGNetV2Config, ResNetConfig, RTDetrResNetConfig
from transformers.models.detr.configuration_detr import DetrConfig
from transformers.models.detr.modeling_detr import DetrDecoderLayer, DetrEncoderLayer

from detr_diff.model.families import BACKBONE
from detr_diff.model.naming import Naming, by_key, detect, in_order, key_of
from tests.model import published_names as published

NAMES = {
    Naming.facebook: [name for name, _ in published.facebook()],
    Naming.resnet: [name for name, _ in published.resnet50()],
    Naming.timm: ["conv_stem.weight", "bn1.weight", "blocks.0.0.conv_dw.weight"],
    Naming.torchvision: ["features.0.0.weight", "features.1.0.block.0.0.weight", "classifier.1.weight"],
    Naming.transformers_backbone: ["resnet.embedder.embedder.convolution.weight", "classifier.1.weight"],
    Naming.transformers: [
        "model.backbone.model.conv1.weight",
        "model.encoder.layers.0.self_attn.o_proj.bias",
    ],
    Naming.transformers_older: [
        "model.backbone.conv_encoder.model.conv1.weight",
        "class_labels_classifier.bias",
    ],
}


@pytest.mark.parametrize("naming", Naming)
def test_a_naming_is_seen_from_the_names(naming: Naming) -> None:
    assert detect(NAMES[naming]) is naming


def test_other_names_are_not_guessed() -> None:
    assert detect(["weight", "net.0.bias"]) is None
    assert detect([]) is None


# Parts of a decoder layer in Conditional DETR, then whole names.
DECODER = "model.decoder.layers.3"
CONDITIONAL = {
    "sa_qcontent_proj": "self_attn.q_content_proj",
    "sa_kpos_proj": "self_attn.k_pos_proj",
    "sa_v_proj": "self_attn.v_proj",
    "ca_kcontent_proj": "encoder_attn.k_content_proj",
    "ca_v_proj": "encoder_attn.v_proj",
    "ca_qpos_sine_proj": "encoder_attn.q_pos_sine_proj",
    "encoder_attn.out_proj": "encoder_attn.o_proj",
}
OLDER = {
    **{
        f"model.decoder.layers.3.{a}.bias": f"model.decoder.layers.3.{b}.bias" for a, b in CONDITIONAL.items()
    },
    "model.backbone.conv_encoder.model.conv1.weight": "model.backbone.model.conv1.weight",
    "model.backbone.model._backbone.conv1.weight": "model.backbone.model.conv1.weight",
    "model.encoder.layers.11.fc2.weight": "model.encoder.layers.11.mlp.fc2.weight",
    "model.encoder.encoder.0.layers.0.fc1.bias": "model.encoder.aifi.0.layers.0.mlp.fc1.bias",
    "model.encoder.encoder.0.layers.0.fc2.bias": "model.encoder.aifi.0.layers.0.mlp.layers.1.bias",
    "model.decoder.class_embed.0.bias": "class_embed.0.bias",
}


@pytest.mark.parametrize(("older", "newer"), OLDER.items())
def test_older_and_newer_names_of_a_tensor_meet(older: str, newer: str) -> None:
    assert key_of(older, torch.zeros(1)) == key_of(newer, torch.zeros(1))


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_a_layer_of_facebook_computes_the_same(kind: str) -> None:
    """Its layers compute what torch's own do, which have the same names."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer if kind == "encoder" else nn.TransformerDecoderLayer
    theirs = layer(16, 4, 32, dropout=0.0, batch_first=True).eval()
    config = DetrConfig(
        d_model=16,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        attn_implementation="eager",
    )
    ours = (DetrEncoderLayer if kind == "encoder" else DetrDecoderLayer)(config).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    prefix = f"{kind}.layers.0."
    stored = {f"transformer.{prefix}{name}": tensor for name, tensor in theirs.state_dict().items()}
    found = by_key(stored, Naming.facebook)
    state = ours.state_dict()
    assert len(found) == len(state)
    ours.load_state_dict(
        {name: found[key_of(f"model.{prefix}{name}", tensor)][0].value for name, tensor in state.items()}
    )
    queries, memory = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    with torch.no_grad():
        if kind == "encoder":
            expected, result = theirs(queries), ours(queries, None)
        else:
            expected, result = theirs(queries, memory), ours(queries, encoder_hidden_states=memory)
    result = result[0] if isinstance(result, tuple) else result
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)


def with_statistics(model: nn.Module) -> nn.Module:
    for name, tensor in model.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(std=0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    return model.eval()


def native(config: ResNetConfig | RTDetrResNetConfig | HGNetV2Config) -> nn.Module:
    return AutoBackbone.from_config(config).eval()


PAIRS = {
    "resnet": (
        lambda: torchvision.models.resnet18(),
        lambda: native(
            ResNetConfig(depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic")
        ),
    ),
    "bottleneck": (
        lambda: timm.create_model("resnet26"),
        lambda: native(ResNetConfig(depths=[2, 2, 2, 2])),
    ),
    "resnet-d": (
        lambda: timm.create_model("resnet26d"),
        lambda: native(RTDetrResNetConfig(depths=[2, 2, 2, 2])),
    ),
    "hgnet": (
        lambda: timm.create_model("hgnetv2_b0"),
        lambda: native(
            HGNetV2Config(
                stem_channels=[3, 16, 16],
                stage_in_channels=[16, 64, 256, 512],
                stage_mid_channels=[16, 32, 64, 128],
                stage_out_channels=[64, 256, 512, 1024],
                hidden_sizes=[64, 256, 512, 1024],
                stage_num_blocks=[1, 1, 2, 1],
                stage_numb_of_layers=[3, 3, 3, 3],
                use_learnable_affine_block=True,
            )
        ),
    ),
}


@pytest.mark.parametrize("key", PAIRS)
def test_a_backbone_of_transformers_takes_the_tensors_of_another_library(key: str) -> None:
    torch.manual_seed(0)
    theirs, ours = (make() for make in PAIRS[key])
    with_statistics(theirs)
    found = by_key(theirs.state_dict(), detect(theirs.state_dict()))
    state = {name: t for name, t in ours.state_dict().items() if "num_batches_tracked" not in name}
    ours.load_state_dict(
        {name: found[key_of(BACKBONE + name, tensor)][0].value for name, tensor in state.items()},
        strict=False,
    )
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        result = ours(images).feature_maps[-1]
        if isinstance(theirs, torchvision.models.ResNet):
            expected = nn.Sequential(*list(theirs.children())[:-2])(images)
        else:
            expected = theirs.forward_features(images)
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("efficientnet_b0", "efficientnet_b0"), ("mobilenet_v3_small", "mobilenetv3_small_100")],
)
def test_torchvision_lists_the_tensors_in_the_order_of_timm(theirs: str, ours: str) -> None:
    with torch.device("meta"):
        source = getattr(torchvision.models, theirs)().state_dict()
        target = timm.create_model(ours, features_only=True).state_dict()
    places = [(name, tensor) for name, tensor in target.items() if "num_batches_tracked" not in name]
    found = in_order(source, places)
    assert len(found) == len(places)
    for name, tensor in places:
        assert found[name][0].value.shape == tensor.shape, name


def test_tensors_in_another_order_are_not_taken() -> None:
    source: dict[str, Tensor] = {"features.0.0.weight": torch.zeros(3), "features.0.0.bias": torch.zeros(3)}
    places = [("a.weight", torch.zeros(3)), ("a.running_mean", torch.zeros(3)), ("b.bias", torch.zeros(3))]
    assert list(in_order(source, places)) == ["a.weight"]
