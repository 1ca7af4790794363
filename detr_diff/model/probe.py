"""Probe: the backbone's features of an image against those of the source's own backbone.

All tensors may have arrived and the features may still differ: by another normalisation of the
image, a stride at another place, a batch norm without its statistics, a lost activation.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import interpolate

from detr_diff.choices import Channels
from detr_diff.model.architecture import Architecture, build_model
from detr_diff.model.families import FAMILIES, family
from detr_diff.model.feature_diff import single_frame
from detr_diff.model.naming import DERIVED, Naming
from detr_diff.model.source import Source
from detr_diff.model.transfer_report import Probe, ProbedLevel

HEIGHT, WIDTH = 96, 128
IMAGENET = {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225), "do_normalize": True}

# Block and blocks per layer of the ResNets, as torchvision and timm have them.
RESNETS: dict[tuple[int, tuple[int, ...]], str] = {
    (2, (2, 2, 2, 2)): "resnet18",
    (2, (3, 4, 6, 3)): "resnet34",
    (3, (3, 4, 6, 3)): "resnet50",
    (3, (3, 4, 23, 3)): "resnet101",
    (3, (3, 8, 36, 3)): "resnet152",
}
# Name in timm to name in torchvision.
TORCHVISION = {
    "mobilenetv3_small_100": "mobilenet_v3_small",
    "mobilenetv3_large_100": "mobilenet_v3_large",
    "mobilenetv2_100": "mobilenet_v2",
    **{f"efficientnet_b{n}": f"efficientnet_b{n}" for n in range(8)},
}


@torch.no_grad()
def probe(detr: Any, processor: Any, source: Source, how: Channels) -> Probe:
    """Compare the features of the model's backbone with those of the source's.

    Args:
        detr: The model.
        processor: Its image processor.
        source: Where its tensors come from.
        how: How its stem was made to fit other channels.
    """
    try:
        levels_of = _source_backbone(source, detr.config.backbone_config)
    except (RuntimeError, ValueError, KeyError, AttributeError, OSError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return Probe(reason=f"the source's own backbone cannot be built ({first})")
    if isinstance(levels_of, str):
        return Probe(reason=levels_of)
    channels = detr.config.backbone_config.num_channels
    their_channels = _channels(source)
    # The mean of the stem's channels answers as the source only where all channels are alike.
    grey = how is Channels.mean and channels != their_channels
    theirs = levels_of(_image(_processor(source), their_channels, grey))
    training = detr.training
    ours = _encoder(detr)(_image(processor.to_dict(), channels, grey))
    detr.train(training)
    levels = tuple(_level(a, b) for a, b in _pairs(ours, theirs))
    return Probe(levels, "" if levels else "no level of the two has the same size")


def _source_backbone(source: Source, config: Any) -> Any:
    """A function from images to the levels of the source's own backbone, or why there is none."""
    if source.architecture is not None:
        return _ours(source.architecture, source.tensors)
    if source.folder is not None and source.family is not None:
        model = family(source.family).model_class.from_pretrained(source.folder, local_files_only=True)
        return _encoder(model)
    tensors: Mapping[str, Tensor] = source.tensors
    if source.naming is Naming.facebook:
        prefix = "backbone.0.body."
        tensors = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    if source.naming in (Naming.facebook, Naming.resnet):
        return _resnet(tensors)
    name = getattr(config, "backbone", None)
    if source.naming is Naming.torchvision and name in TORCHVISION:
        return _torchvision(TORCHVISION[name], tensors, config)
    if source.naming is Naming.timm and name is not None:
        return _timm(name, tensors, config)
    return "the source does not say which backbone it is"


def _ours(architecture: Architecture, tensors: Mapping[str, Tensor]) -> Any:
    model = build_model(architecture)
    model.load_state_dict(dict(tensors))
    return _encoder(model)


def _encoder(model: Any) -> Any:
    encoder = single_frame(model.eval().model.backbone)
    return lambda images: [features for features, _ in encoder(images, torch.ones(1, HEIGHT, WIDTH))]


def _resnet(tensors: Mapping[str, Tensor]) -> Any:
    """A ResNet of torchvision, or a ResNet-D of timm; its depth is seen from the names."""
    layers = (1, 2, 3, 4)
    depth = tuple(len({n.split(".")[1] for n in tensors if n.startswith(f"layer{i}.")}) for i in layers)
    name = RESNETS.get((3 if "layer1.0.conv3.weight" in tensors else 2, depth))
    if name is None:
        return f"no ResNet has {depth} blocks in its layers"
    if "conv1.0.weight" in tensors:
        return _timm(f"{name}d", tensors, None)
    with torch.device("meta"):
        model = getattr(torchvision.models, name)()
    _fill(model, {n: t for n, t in tensors.items() if not n.startswith("fc.")})

    def levels(images: Tensor) -> list[Tensor]:
        features = model.maxpool(model.relu(model.bn1(model.conv1(images))))
        found = []
        for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
            features = layer(features)
            found.append(features)
        return found

    return levels


def _timm(name: str, tensors: Mapping[str, Tensor], config: Any) -> Any:
    import timm

    indices = (1, 2, 3, 4) if config is None else tuple(config.out_indices)
    model = timm.create_model(name, features_only=True, out_indices=indices)
    wanted = {key.replace(".", "_"): key for key in model.state_dict()}
    named = {wanted[n.replace(".", "_")]: t for n, t in tensors.items() if n.replace(".", "_") in wanted}
    _fill(model, named)
    return model


def _torchvision(name: str, tensors: Mapping[str, Tensor], config: Any) -> Any:
    from detr_diff.model.timm_backbone import timm_model

    model = getattr(torchvision.models, name)()
    _fill(model, dict(tensors))
    wanted = timm_model(config).feature_info.channels()

    def levels(images: Tensor) -> list[Tensor]:
        found: dict[int, Tensor] = {}
        for layer in model.features:
            images = layer(images)
            found[WIDTH // images.shape[-1]] = images
        listed = [features for _, features in sorted(found.items())]
        return [features for features in listed if features.shape[1] in wanted]

    return levels


def _fill(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    model.load_state_dict({n: t.float() for n, t in tensors.items()}, strict=False, assign=True)
    state = model.state_dict()
    missing = [n for n in state if n not in tensors and not n.startswith("fc.") and not DERIVED.search(n)]
    if missing:
        raise ValueError(f"{missing[0]} is not in it")
    model.eval()


def _channels(source: Source) -> int:
    """Input channels of the source's backbone."""
    config = source.config or {}
    channels = (config.get("backbone_config") or {}).get("num_channels", config.get("num_channels", 3))
    return int(channels)


def _processor(source: Source) -> Mapping[str, Any]:
    """How the source normalises an image."""
    if source.processor is not None or source.family not in FAMILIES:
        return {**IMAGENET, **(source.processor or {})}
    return dict(family(source.family).processor_class().to_dict())


def _image(processor: Mapping[str, Any], channels: int, grey: bool) -> Tensor:
    """A picture of smooth patches and noise, always the same, as a processor gives it to a network.

    Args:
        processor: Its settings.
        channels: Of the result; those of the picture in turn.
        grey: Whether all channels shall be alike.

    Returns:
        [1, channels, HEIGHT, WIDTH].
    """
    generator = torch.Generator().manual_seed(0)
    patches = torch.rand(1, 3, 6, 8, generator=generator)
    fine = torch.rand(1, 3, HEIGHT, WIDTH, generator=generator)
    image = (0.7 * interpolate(patches, (HEIGHT, WIDTH), mode="bilinear") + 0.3 * fine) * 255
    if processor.get("do_rescale", True):
        image = image * processor.get("rescale_factor", 1 / 255)
    if processor.get("do_normalize", True):
        mean, std = (torch.tensor(processor[key]).view(1, -1, 1, 1) for key in ("image_mean", "image_std"))
        image = (image - mean) / std
    if grey:
        image = image.mean(1, keepdim=True)
    return image[:, torch.arange(channels) % image.shape[1]]


def _pairs(ours: list[Tensor], theirs: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """The levels that both have, by their size and channels."""
    matched = {tuple(features.shape): features for features in theirs}
    return [(level, matched[tuple(level.shape)]) for level in ours if tuple(level.shape) in matched]


def _level(ours: Tensor, theirs: Tensor) -> ProbedLevel:
    return ProbedLevel(
        stride=round(HEIGHT / ours.shape[2]),
        cosine=_cosine(ours.double(), theirs.double()),
        difference=float((ours - theirs).abs().max()),
        size=float(theirs.abs().max()),
    )


def _cosine(ours: Tensor, theirs: Tensor) -> float:
    # Not torch's own, which takes features as small as those of a network without norm for zero.
    lengths = float(ours.norm() * theirs.norm())
    return float((ours * theirs).sum()) / lengths if lengths else float(torch.equal(ours, theirs))
