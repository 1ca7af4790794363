"""Reading frames: always RGB, 8 bits a channel."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def read_image(path: Path) -> Tensor:
    """Decode an image file.

    Returns:
        uint8 [3, H, W], RGB.
    """
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def inspect_image(path: Path) -> tuple[int, int] | str:
    """Whether an image can be used, without the cost of decoding all of it.

    The whole file is read: the checksums of a PNG, a JPEG at an eighth of its size.

    Returns:
        (height, width), or what is wrong.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            if image.mode[0] in "IF":
                return f"{image.mode} pixels, 8 bits a channel expected"
            if image.format == "PNG":
                image.verify()
            else:
                image.draft(image.mode, (max(1, width // 8), max(1, height // 8)))
                image.load()
    except FileNotFoundError:
        return "no such file"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f"unreadable image: {str(error).replace(str(path), path.name)}"
    return height, width
