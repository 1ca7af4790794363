"""The tensors of DETR-R50 as its publishers name them, written down independently of the package."""

from collections.abc import Iterator

import torch
from torch import Tensor

D, FFN, QUERIES, CLASSES = 256, 2048, 100, 91
BOTTLENECKS = {1: (3, 64), 2: (4, 128), 3: (6, 256), 4: (3, 512)}

LAYERS = {
    "encoder": {
        "self_attn.out_proj": "self_attn.o_proj",
        "linear1": "mlp.fc1",
        "linear2": "mlp.fc2",
        "norm1": "self_attn_layer_norm",
        "norm2": "final_layer_norm",
    },
    "decoder": {
        "self_attn.out_proj": "self_attn.o_proj",
        "multihead_attn.out_proj": "encoder_attn.o_proj",
        "linear1": "mlp.fc1",
        "linear2": "mlp.fc2",
        "norm1": "self_attn_layer_norm",
        "norm2": "encoder_attn_layer_norm",
        "norm3": "final_layer_norm",
    },
}
ATTENTIONS = {
    "encoder": {"self_attn": "self_attn"},
    "decoder": {"self_attn": "self_attn", "multihead_attn": "encoder_attn"},
}


def resnet50() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor in torchvision's ResNet-50 below its classifier, without counters."""

    def norm(name: str, size: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        for part in ("weight", "bias", "running_mean", "running_var"):
            yield f"{name}.{part}", (size,)

    yield "conv1.weight", (64, 3, 7, 7)
    yield from norm("bn1", 64)
    before = 64
    for layer, (blocks, width) in BOTTLENECKS.items():
        for block in range(blocks):
            name = f"layer{layer}.{block}"
            yield f"{name}.conv1.weight", (width, before, 1, 1)
            yield from norm(f"{name}.bn1", width)
            yield f"{name}.conv2.weight", (width, width, 3, 3)
            yield from norm(f"{name}.bn2", width)
            yield f"{name}.conv3.weight", (4 * width, width, 1, 1)
            yield from norm(f"{name}.bn3", 4 * width)
            if block == 0:
                yield f"{name}.downsample.0.weight", (4 * width, before, 1, 1)
                yield from norm(f"{name}.downsample.1", 4 * width)
            before = 4 * width


def facebook() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor in detr-r50-e632da11.pth of facebookresearch/detr."""
    for kind, parts in LAYERS.items():
        for layer in range(6):
            name = f"transformer.{kind}.layers.{layer}"
            for attention in ATTENTIONS[kind]:
                yield f"{name}.{attention}.in_proj_weight", (3 * D, D)
                yield f"{name}.{attention}.in_proj_bias", (3 * D,)
            for part in parts:
                rows, columns = {"linear1": (FFN, D), "linear2": (D, FFN)}.get(part, (D, D))
                yield f"{name}.{part}.weight", (D,) if "norm" in part else (rows, columns)
                yield f"{name}.{part}.bias", (rows,)
    yield "transformer.decoder.norm.weight", (D,)
    yield "transformer.decoder.norm.bias", (D,)
    yield "class_embed.weight", (CLASSES + 1, D)
    yield "class_embed.bias", (CLASSES + 1,)
    for layer, rows in enumerate((D, D, 4)):
        yield f"bbox_embed.layers.{layer}.weight", (rows, D)
        yield f"bbox_embed.layers.{layer}.bias", (rows,)
    yield "query_embed.weight", (QUERIES, D)
    yield "input_proj.weight", (D, 2048, 1, 1)
    yield "input_proj.bias", (D,)
    for name, shape in resnet50():
        yield f"backbone.0.body.{name}", shape


def filled(names: Iterator[tuple[str, tuple[int, ...]]], seed: int = 0) -> dict[str, Tensor]:
    """Tensors of a size that a network can compute with."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in names:
        fan = max(1, int(torch.tensor(shape[1:]).prod()))
        value = torch.rand(shape, generator=generator).sub_(0.5).mul_((12 / fan) ** 0.5)
        if name.endswith(("running_var", "norm.weight")) or ("bn" in name and name.endswith("weight")):
            value = value.mul_(0.1).add_(1.0)
        tensors[name] = value
    return tensors


def in_transformers(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under the names that transformers' model has in memory."""
    own: dict[str, Tensor] = {}
    for kind, parts in LAYERS.items():
        for layer in range(6):
            theirs, ours = f"transformer.{kind}.layers.{layer}", f"model.{kind}.layers.{layer}"
            for attention, name in ATTENTIONS[kind].items():
                for part in ("weight", "bias"):
                    packed = published[f"{theirs}.{attention}.in_proj_{part}"]
                    for place, letter in enumerate(("q", "k", "v")):
                        rows = packed[place * D : (place + 1) * D]
                        own[f"{ours}.{name}.{letter}_proj.{part}"] = rows
            for part, name in parts.items():
                for end in ("weight", "bias"):
                    own[f"{ours}.{name}.{end}"] = published[f"{theirs}.{part}.{end}"]
    simple = {
        "transformer.decoder.norm": "model.decoder.layernorm",
        "class_embed": "class_labels_classifier",
        "bbox_embed": "bbox_predictor",
        "query_embed": "model.query_position_embeddings",
        "input_proj": "model.input_projection",
        "backbone.0.body": "model.backbone.model",
    }
    for name, tensor in published.items():
        for theirs, ours in simple.items():
            if name.startswith(f"{theirs}."):
                own[ours + name.removeprefix(theirs)] = tensor
    return own


def in_older_transformers(own: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same under the names in the files on the hub."""
    older = {}
    for name, tensor in own.items():
        name = name.replace("model.backbone.model.", "model.backbone.conv_encoder.model.")
        name = name.replace(".o_proj.", ".out_proj.").replace(".mlp.fc", ".fc")
        older[name] = tensor
    return older
