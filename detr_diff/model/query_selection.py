"""Query selection that works boxes out for the queries alone.

RT-DETR and its kin score every place of the feature maps and begin with the best ones and their boxes
(Zhao et al. 2023, arXiv:2304.08069, section 4.3). transformers asks the box head about every place, though:
420 for 20 queries in the demo's model, 8,400 for 300 in RT-DETR-R50 at 640x640.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from detr_diff.errors import SettingError


def box_queries_alone(detr: nn.Module) -> None:
    """Let the box head of query selection see the places that become queries; changed in place.

    Predictions, losses and gradients are the same up to rounding; elsewhere `enc_outputs_coord_logits` are
    the anchors. These are float32 whatever the features are: in bf16 an anchor is up to 1/256 of the image
    off.

    The head raises SettingError where there are fewer places than queries.

    Args:
        detr: A model of transformers; other families than RT-DETR and its kin have no such head.
    """
    inner: Any = detr.model
    head = getattr(inner, "enc_bbox_head", None)
    if head is not None:
        kind: Any = type(head)
        model: Any = type(inner)
        head.__class__ = _of_queries(kind)
        head.selection = (inner,)  # a tuple is no submodule: the parameters keep their names
        inner.__class__ = _with_exact_anchors(model)


@cache
def _of_queries(head: Any) -> Any:
    # A class, see host_checks.py: what takes the head out of autocast then runs this, too.
    def forward(self: Any, features: Tensor) -> Tensor:
        """Features [B, S, d] of all places to offsets [B, S, 4]."""
        (inner,) = self.selection
        queries = inner.config.num_queries
        if features.shape[1] < queries:
            raise SettingError(
                f"{queries} queries are places of the feature maps, and images of this size have "
                f"{features.shape[1]}: larger ones (model.processor.size), or fewer queries "
                f"(model.modification.queries={features.shape[1]})"
            )
        with torch.no_grad():  # transformers does the same with the same features right afterwards
            scores = inner.enc_score_head(features).max(-1).values
            places = scores.topk(queries, dim=1).indices[..., None]
        chosen = features.gather(1, places.expand(-1, -1, features.shape[-1]))
        boxes = head.forward(self, chosen)
        return boxes.new_zeros(*features.shape[:2], 4).scatter(1, places.expand(-1, -1, 4), boxes)

    return type(head.__name__, (head,), {"forward": forward})


@cache
def _with_exact_anchors(model: Any) -> Any:
    def generate_anchors(self: Any, *arguments: Any, dtype: torch.dtype, **named: Any) -> Any:
        exact = torch.promote_types(dtype, torch.float32)
        return model.generate_anchors(self, *arguments, dtype=exact, **named)

    return type(model.__name__, (model,), {"generate_anchors": generate_anchors})
