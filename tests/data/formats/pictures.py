"""Small pictures for importers."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image


def save(path: Path, picture: npt.NDArray[np.uint8]) -> Path:
    """Write uint8 [H, W, 3] RGB as the format that the name says; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, compress_level=1)
    return path
