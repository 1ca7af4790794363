"""A trained model for other programs: a folder that transformers reads."""

from pathlib import Path
from typing import Any

from detr_diff.errors import SettingError
from detr_diff.model.architecture import Architecture


def save_pretrained(detr: Any, architecture: Architecture, processor: Any, folder: str | Path) -> None:
    """Write weights, configuration and image processor, for `from_pretrained` of transformers.

    What it takes is the diff image, [B, C, H, W].

    Args:
        detr: The model.
        architecture: Of it.
        processor: Of it.
        folder: A new one.

    Raises:
        SettingError: The folder exists, or the model is none of transformers.
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
