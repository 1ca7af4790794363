"""Naming: what the tensors of a file are called, and one name for the same tensor in all of them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from torch import Tensor

from detr_diff.model.families import BACKBONE

# Counters and constants that follow from the configuration: nothing that was learnt.
DERIVED = re.compile(r"num_batches_tracked$|n(um)?_points_scale$|relative_position_index$")


class Naming(StrEnum):
    """Whose names the tensors of a file have."""

    transformers = "transformers"
    transformers_older = "transformers, older names"
    transformers_backbone = "transformers, backbone only"
    facebook = "facebookresearch/detr"
    resnet = "torchvision and timm, backbone only"
    torchvision = "torchvision, backbone only"
    timm = "timm, backbone only"


@dataclass(frozen=True)
class NamedTensor:
    """A tensor, or a part of one, of a source and its name there."""

    name: str
    value: Tensor


# From each older name of transformers to the present one. Names differ between its versions in
# memory too, so both sides of a transfer are brought to these.
OLDER = (
    (r"^model\.backbone\.conv_encoder\.", "model.backbone."),
    (r"\.(self_attn|encoder_attn)\.out_proj\.", r".\1.o_proj."),
    (r"\.layers\.(\d+)\.fc([12])\.", r".layers.\1.mlp.fc\2."),
    (r"^model\.encoder\.encoder\.(\d+)\.", r"model.encoder.aifi.\1."),
    (r"\.sa_([qk])(content|pos)_proj\.", r".self_attn.\1_\2_proj."),
    (r"\.sa_v_proj\.", ".self_attn.v_proj."),
    (r"\.ca_qpos_sine_proj\.", ".encoder_attn.q_pos_sine_proj."),
    (r"\.ca_([qk])(content|pos)_proj\.", r".encoder_attn.\1_\2_proj."),
    (r"\.ca_v_proj\.", ".encoder_attn.v_proj."),
)
# The same tensor under several present names: D-FINE counts the layers of a feed-forward, a timm
# backbone is wrapped or not, heads that are refined in the decoder are there and outside of it.
EQUAL = (
    (r"\.layers\.(\d+)\.mlp\.layers\.0\.", r".layers.\1.mlp.fc1."),
    (r"\.layers\.(\d+)\.mlp\.layers\.1\.", r".layers.\1.mlp.fc2."),
    (r"^model\.backbone\.model\._backbone\.", BACKBONE),
    (r"^model\.decoder\.(class|bbox)_embed\.", r"\1_embed."),
)
# transformers' own backbones in the names of torchvision and timm.
NATIVE = (
    (r"^(resnet|backbone|model)\.(?=embedder|encoder)", ""),
    (r"^embedder\.embedder\.convolution\.", "conv1."),
    (r"^embedder\.embedder\.normalization\.", "bn1."),
    (r"^embedder\.embedder\.0\.convolution\.", "conv1.0."),
    (r"^embedder\.embedder\.0\.normalization\.", "conv1.1."),
    (r"^embedder\.embedder\.1\.convolution\.", "conv1.3."),
    (r"^embedder\.embedder\.1\.normalization\.", "conv1.4."),
    (r"^embedder\.embedder\.2\.convolution\.", "conv1.6."),
    (r"^embedder\.embedder\.2\.normalization\.", "bn1."),
    (r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.(1\.)?\w+\.", r"layer\1+1.\2.downsample."),
    (r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d)\.convolution\.", r"layer\1+1.\2.conv\3+1."),
    (r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d)\.normalization\.", r"layer\1+1.\2.bn\3+1."),
    (r"^embedder\.", "stem."),
    (r"^encoder\.stages\.", "stages."),
    (r"\.convolution\.", ".conv."),
    (r"\.normalization\.", ".bn."),
)
FACEBOOK = (
    (r"^backbone\.0\.body\.", BACKBONE),
    (r"^backbone\.1\.row_embed\.", "model.position_embedding.row_embeddings."),
    (r"^backbone\.1\.col_embed\.", "model.position_embedding.column_embeddings."),
    (r"^input_proj\.", "model.input_projection."),
    (r"^query_embed\.", "model.query_position_embeddings."),
    (r"^class_embed\.", "class_labels_classifier."),
    (r"^bbox_embed\.", "bbox_predictor."),
    (r"^transformer\.decoder\.norm\.", "model.decoder.layernorm."),
    (r"^transformer\.", "model."),
    (r"\.multihead_attn\.", ".encoder_attn."),
    (r"\.out_proj\.", ".o_proj."),
    (r"\.linear([12])\.", r".mlp.fc\1."),
    (r"\.norm1\.", ".self_attn_layer_norm."),
    (r"(encoder\.layers\.\d+)\.norm2\.", r"\1.final_layer_norm."),
    (r"(decoder\.layers\.\d+)\.norm2\.", r"\1.encoder_attn_layer_norm."),
    (r"\.norm3\.", ".final_layer_norm."),
)


def detect(names: Iterable[str]) -> Naming | None:
    """The naming that the names of a file's tensors show; None when it is not known."""
    listed = list(names)

    def any_match(pattern: str) -> bool:
        return any(re.match(pattern, name) for name in listed)

    if any_match(r"transformer\.(encoder|decoder)\.layers\.\d+\.") and any_match(r"backbone\.0\.body\."):
        return Naming.facebook
    if any_match(r"model\.(encoder|decoder|backbone)\."):
        older = any(_rename(name, OLDER) != name for name in listed)
        return Naming.transformers_older if older else Naming.transformers
    if any_match(r"((resnet|backbone|model)\.)?(embedder\.(embedder|stem)|encoder\.stages\.\d+)"):
        return Naming.transformers_backbone
    if any_match(r"layer1\.0\.conv1\.weight$"):
        return Naming.resnet
    if any_match(r"features\.0\.0\.weight$"):
        return Naming.torchvision
    if any_match(r"(stem|conv_stem|patch_embed|stages|s1|blocks|layers|features)[._]"):
        return Naming.timm
    return None


def by_key(tensors: Mapping[str, Tensor], naming: Naming) -> dict[str, list[NamedTensor]]:
    """The tensors of a file under the keys that `key_of` gives the tensors of a model.

    Tensors that share a key are copies of each other in the file.
    """
    found: dict[str, list[NamedTensor]] = {}
    for name, tensor in tensors.items():
        if not DERIVED.search(name):
            for key, part in _translated(name, tensor, naming):
                found.setdefault(key, []).append(part)
    return found


def in_order(
    tensors: Mapping[str, Tensor], backbone: Sequence[tuple[str, Tensor]]
) -> dict[str, list[NamedTensor]]:
    """The `features` of a torchvision EfficientNet or MobileNet under the keys of the same backbone in timm.

    The two count the blocks differently, but list the same tensors in the same order.

    Args:
        tensors: Of the file, in its order.
        backbone: Key and tensor of the model's backbone, in its order.
    """
    listed = [(n, t) for n, t in tensors.items() if n.startswith("features.") and not DERIVED.search(n)]
    found = {}
    for (key, wanted), (name, tensor) in zip(backbone, listed, strict=False):
        if tensor.ndim != wanted.ndim or not key.endswith(name.rpartition(".")[2]):
            break
        found[key] = [NamedTensor(name, tensor)]
    return found


def key_of(name: str, tensor: Tensor) -> str:
    """One key for a tensor of a transformers model, whatever version named it."""
    name = _rename(_rename(name, OLDER), EQUAL)
    if name.startswith(BACKBONE):
        return BACKBONE + _backbone_key(name.removeprefix(BACKBONE), tensor)
    return name


def _backbone_key(name: str, tensor: Tensor) -> str:
    name = re.sub(r"(\d+)\+1", lambda match: str(int(match[1]) + 1), _rename(name, NATIVE))
    # A ResNet-D has a pooling before the convolution of the shortcut, which shifts their numbers.
    kind = "conv" if tensor.ndim == 4 else "bn"
    name = re.sub(r"^(layer\d\.\d+)\.downsample\.\d?\.?", rf"\1.downsample.{kind}.", name)
    # Where timm gives features it flattens the model: stages.0 becomes stages_0.
    return name.replace(".", "_")


def _translated(name: str, tensor: Tensor, naming: Naming) -> Iterator[tuple[str, NamedTensor]]:
    if naming is Naming.facebook:
        renamed = _rename(name, FACEBOOK)
        packed = re.match(r"(.*)\.in_proj_(weight|bias)$", renamed)
        if packed and len(tensor) % 3 == 0:
            third = len(tensor) // 3
            for part, letter in enumerate("qkv"):
                rows = f"{part * third}:{(part + 1) * third}"
                value = tensor[part * third : (part + 1) * third]
                yield f"{packed[1]}.{letter}_proj.{packed[2]}", NamedTensor(f"{name}[{rows}]", value)
            return
        yield key_of(renamed, tensor), NamedTensor(name, tensor)
    elif naming in (Naming.transformers, Naming.transformers_older):
        yield key_of(name, tensor), NamedTensor(name, tensor)
    else:
        yield BACKBONE + _backbone_key(name, tensor), NamedTensor(name, tensor)


def _rename(name: str, rules: Sequence[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
