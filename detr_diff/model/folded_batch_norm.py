"""Frozen batch norm is a factor and a summand of each channel, which a convolution can apply, too."""

import logging
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from detr_diff.model.batch_norm import frozen_batch_norms
from detr_diff.model.feature_diff import single_frame

log = logging.getLogger(__name__)

EPSILON = 1e-5  # of the frozen batch norms of transformers, which have no attribute for it
SIZE = 64  # pixels of the image that shows which convolution comes before which batch norm


def fold_batch_norms(detr: Any) -> int:
    """Let convolutions do the work of the frozen batch norms behind them.

    transformers multiplies and adds in passes of their own over the feature maps, in float32 even
    under autocast: with bf16 that is two thirds of the time of a ResNet-50 on a CPU. Here the
    weight is multiplied instead, in each forward pass, so that what is learnt, saved and loaded stays
    as it was. Outputs and gradients are the same up to rounding.

    Args:
        detr: The model; changed in place.

    Returns:
        How many batch norms have become part of a convolution.
    """
    encoder, training = single_frame(detr.model.backbone), detr.training
    norms = list(frozen_batch_norms(encoder).values())
    if not norms:
        return 0
    detr.eval()
    before, pairs = _follow(detr, encoder, norms)
    for conv, norm in pairs:
        conv.forward = partial(_convolve, conv, norm)
        norm.forward = partial(_activate, norm)
    after = backbone_features(detr, encoder)
    if not all(alike(*levels) for levels in zip(before, after, strict=True)):
        # The output of a convolution goes elsewhere, too.
        log.info("the batch norm of this backbone cannot be folded into its convolutions")
        for module in (module for pair in pairs for module in pair):
            del module.forward
        pairs = []
    detr.train(training)
    return len(pairs)


def _follow(detr: Any, encoder: Any, norms: list[Any]) -> tuple[list[Tensor], list[tuple[Any, Any]]]:
    """Features of an image, and the convolutions whose output is the input of a batch norm."""
    made: dict[int, tuple[Tensor, Any]] = {}  # the tensors stay, so that no other gets their id
    pairs = []

    def convolved(conv: Any, given: Any, output: Tensor) -> None:
        made[id(output)] = output, conv

    def normalised(norm: Any, given: tuple[Tensor]) -> None:
        if id(given[0]) in made:
            pairs.append((made[id(given[0])][1], norm))

    # Not a subclass, which may do more than convolve.
    convs = [module for module in encoder.modules() if type(module) is nn.Conv2d]
    hooks = [conv.register_forward_hook(convolved) for conv in convs]
    hooks += [norm.register_forward_pre_hook(normalised) for norm in norms]
    try:
        features = backbone_features(detr, encoder)
    finally:
        for hook in hooks:
            hook.remove()
    return features, pairs


@torch.no_grad()
def backbone_features(detr: Any, encoder: Any) -> list[Tensor]:
    """What a backbone makes of an image that is always the same, a level each."""
    weight = next(detr.parameters())
    shape = (1, detr.config.backbone_config.num_channels, SIZE, SIZE)
    # No order in it, and no draw from the global generator.
    image = torch.arange(torch.Size(shape).numel()).mul(0.7).sin().reshape(shape).to(weight)
    mask = torch.ones(1, SIZE, SIZE, dtype=torch.bool, device=weight.device)
    return [features for features, _ in encoder(image, mask)]


def alike(ours: Tensor, theirs: Tensor) -> bool:
    """Whether features are the same up to rounding."""
    return torch.allclose(ours, theirs, rtol=0, atol=1e-3 * float(theirs.abs().max()))


def folded(conv: nn.Conv2d, norm: Any) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that does the work of a batch norm behind it, too.

    That of torch (`fuse_conv_bn_weights`) makes parameters of them, through which no gradient goes back.
    """
    scale = norm.weight * (norm.running_var + getattr(norm, "eps", EPSILON)).rsqrt()
    shift = norm.bias - norm.running_mean * scale
    if conv.bias is not None:
        shift = shift + conv.bias * scale
    return conv.weight * scale[:, None, None, None], shift


def _convolve(conv: nn.Conv2d, norm: Any, given: Tensor) -> Tensor:
    return conv._conv_forward(given, *folded(conv, norm))


def _activate(norm: Any, given: Tensor) -> Tensor:
    """What is left of the batch norm: in timm it holds the activation function."""
    return norm.act(norm.drop(given)) if hasattr(norm, "act") else given
