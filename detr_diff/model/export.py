"""A trained model for other programs: a folder that transformers reads."""

import shutil
from pathlib import Path
from typing import Any

from detr_diff.errors import SettingError
from detr_diff.model.architecture import Architecture
from detr_diff.model.folded_batch_norm import alike, backbone_features


def save_pretrained(detr: Any, architecture: Architecture, processor: Any, folder: str | Path) -> None:
    """Write weights, configuration and image processor, for `from_pretrained` of transformers.

    What it takes is the diff image, [B, C, H, W]. The weights are read back and the features compared:
    transformers makes frozen batch norms of all of timm's, without the activations that some hold.

    Args:
        detr: The model; it is put into evaluation mode.
        architecture: Of it.
        processor: Of it.
        folder: A new one.

    Raises:
        SettingError: The folder exists, or transformers has no such model.
    """
    own = [name for name in ("feature_diff", "modification") if getattr(architecture, name)]
    if own:
        raise SettingError(f"model.{own[0]}: no model of transformers; only detr_diff reads its checkpoints")
    if Path(folder).exists():
        raise SettingError(f"{folder} exists and is never overwritten")
    said = detr.config.auxiliary_loss
    # It matters in training alone; with it transformers 5.23 predicts otherwise, see auxiliary_outputs.py.
    detr.config.auxiliary_loss = False
    try:
        detr.save_pretrained(folder)
    finally:
        detr.config.auxiliary_loss = said
    processor.save_pretrained(folder)
    theirs = type(detr).from_pretrained(folder).to(detr.device)
    ours, other = (backbone_features(one.eval(), one.model.backbone) for one in (detr, theirs))
    if not all(alike(*levels) for levels in zip(ours, other, strict=True)):
        shutil.rmtree(folder)
        raise SettingError(
            "transformers builds this backbone otherwise; only detr_diff reads its checkpoints"
        )
