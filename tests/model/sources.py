"""Pretrained models to start from, made on the spot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from detr_diff.model.families import FAMILIES
from detr_diff.model.load import load_model
from tests.model.tiny_models import FAMILIES as TINY


def pretrained(name: str, names: Sequence[str], folder: Path, **settings: Any) -> Path:
    """A `save_pretrained` folder with a tiny model of a family, whose batch norm has seen data.

    Args:
        name: The family.
        names: Class names.
        folder: Where to save.
        settings: Changes of the configuration.
    """
    torch.manual_seed(1)
    config = {**TINY[name], **settings}
    model, _, _ = load_model(name, names, config=config, transfer={"batch_norm": "frozen"})
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if key.endswith("running_mean"):
                tensor.normal_(std=0.1)
            elif key.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
    model.save_pretrained(folder)
    FAMILIES[name].processor_class().save_pretrained(folder)
    return folder
