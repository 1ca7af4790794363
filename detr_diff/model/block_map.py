"""Which block of a DETR its parameters and modules belong to."""

import re

from torch import nn

from detr_diff.model.backbone import backbone_blocks
from detr_diff.model.families import BACKBONE, Family


class BlockMap:
    """Which block the parameters and modules of a model belong to.

    Args:
        detr: The model.
        family: Its DETR variant.
    """

    def __init__(self, detr: nn.Module, family: Family) -> None:
        self.family = family
        self._in_backbone = backbone_blocks(detr)

    def of(self, name: str) -> str | None:
        """The block of a parameter, or of a module whose name ends in a dot.

        None for a module above all blocks.
        """
        if name.startswith(BACKBONE):
            return self._in_backbone(name.removeprefix(BACKBONE))
        return next((b for b, pattern in self.family.blocks.items() if re.match(pattern, name)), None)
