"""`detr-diff train` of data.diff=stack whose first filters see one of the three images each.

    python experiments/places/separate_stem.py experiment=demo data.diff=stack ...

Those for before and after are the same at the start, so that what differs are the frames alone.
"""

import sys
from typing import Any

import torch

from detr_diff.cli import main
from detr_diff.verbs import parts

load_model = parts.load_model


@torch.no_grad()
def with_separate_stem(*args: Any, **settings: Any) -> Any:
    model, architecture, report = load_model(*args, **settings)
    stem = next(m for m in model.model.backbone.modules() if isinstance(m, torch.nn.Conv2d)).weight
    third, start = len(stem) // 3, stem * 3**0.5  # as far spread as with nine channels
    stem.zero_()
    stem[:third, :3] = stem[third : 2 * third, 3:6] = start[:third, :3]
    stem[2 * third :, 6:] = start[2 * third :, 6:]
    return model, architecture, report


if __name__ == "__main__":
    parts.load_model = with_separate_stem
    sys.exit(main(["train", *sys.argv[1:]]))
