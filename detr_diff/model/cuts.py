"""Where a DETR can be cut in two: what is kept of the frozen part, and how the rest goes on from it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.detr.modeling_detr import DetrModelOutput

Outputs = Mapping[str, Any]  # module path to what its forward returned


@dataclass(frozen=True)
class Cut:
    """A place between blocks at which the network can be cut.

    Attributes:
        last: The last block before the cut; it and all blocks before it must be frozen.
        modules: Paths of the modules whose outputs `keep` needs.
        keep: Their outputs to the tensors to be kept, each [B, ...].
        give: Kept tensors to what the modules before the cut return instead of being run.
    """

    last: str
    modules: tuple[str, ...]
    keep: Callable[[Outputs], list[Tensor]]
    give: Callable[[Sequence[Tensor]], dict[str, Any]]


def _whole(feature_map: Tensor) -> Tensor:
    """The mask of a feature map [B, C, h, w] without padding, bool [B, h, w]."""
    return torch.ones_like(feature_map[:, 0], dtype=torch.bool)


def _after_layer4(path: str, first: int = 0) -> Cut:
    """After a module that returns a list of feature maps [B, C, h, w] with masks, as backbones do."""
    return Cut(
        last="layer4",
        modules=(path,),
        keep=lambda outputs: [feature_map for feature_map, _ in outputs[path][first:]],
        give=lambda kept: {path: [(feature_map, _whole(feature_map)) for feature_map in kept]},
    )


FEATURE_MAPS = _after_layer4("model.backbone")
# Families that look at the coarsest map alone.
LAST_FEATURE_MAP = _after_layer4("model.backbone", -1)
# The features of two frames, before they are compared; see feature_diff.py.
FRAME_MAPS = _after_layer4("model.backbone.frames")


def _keep_memory(outputs: Outputs) -> list[Tensor]:
    """DETR's encoder returns [B, h * w, d]; the decoder also wants to know h and w."""
    height, width = outputs["model.backbone"][-1][0].shape[-2:]
    return [outputs["model.encoder"].last_hidden_state.unflatten(1, (height, width))]


def _give_memory(kept: Sequence[Tensor]) -> dict[str, Any]:
    (memory,) = kept
    # Of the maps before the encoder only the shape is looked at.
    shape = memory.new_zeros(1).expand(len(memory), 1, *memory.shape[1:3])
    return {
        "model.backbone": [(shape, _whole(shape))],
        "model.input_projection": shape,
        "model.encoder": BaseModelOutput(last_hidden_state=memory.flatten(1, 2)),
    }


DETR_ENCODER = Cut(
    last="encoder",
    modules=("model.backbone", "model.encoder"),
    keep=_keep_memory,
    give=_give_memory,
)


def _keep_queries(outputs: Outputs) -> list[Tensor]:
    output = outputs["model"]
    # One after each layer, for the auxiliary losses: [layers, B, queries, d].
    layers = output.intermediate_hidden_states
    return [output.last_hidden_state] + ([] if layers is None else [layers.transpose(0, 1)])


def _give_queries(kept: Sequence[Tensor]) -> dict[str, Any]:
    last, *layers = kept
    intermediate = layers[0].transpose(0, 1) if layers else None
    return {"model": DetrModelOutput(last_hidden_state=last, intermediate_hidden_states=intermediate)}


# Only the heads are after it.
DETR_DECODER = Cut(last="queries", modules=("model",), keep=_keep_queries, give=_give_queries)

# RT-DETR's heads pick the queries and refine the boxes between the layers of the decoder, and its
# denoising queries are drawn anew in each step: nothing after the encoder stays the same.
HYBRID_ENCODER = Cut(
    last="encoder",
    modules=("model.encoder",),
    keep=lambda outputs: list(outputs["model.encoder"].last_hidden_state),
    give=lambda kept: {
        "model.backbone": [],
        # A list, whatever its annotation says.
        "model.encoder": BaseModelOutput(last_hidden_state=list(kept)),  # type: ignore[arg-type]
    },
)
