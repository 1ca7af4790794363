"""Reading frames: always RGB, 8 bits a channel."""

import hashlib
import struct
from pathlib import Path

import cv2
import torch
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

# A forked worker hangs as soon as it touches a thread pool of OpenCV that its parent used.
cv2.setNumThreads(0)


ORIENTATION = 0x0112  # tag of EXIF and TIFF
BITS = 0x0102  # tag of TIFF: bits of each channel
SMALLEST = 2  # pixels; what is thinner cannot be resized in proportion

# A JPEG can be decoded at these shares of its size, for a part of the cost (OpenCV's flags).
REDUCED = {
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
}


def read_image(path: Path, reduction: int = 1) -> Tensor:
    """Decode an image file. How a camera was held (EXIF orientation) is not applied.

    Args:
        path: Of the file.
        reduction: 2, 4 or 8: a JPEG may come in a half, a quarter or an eighth of its size, rounded
            up. Other formats come in full.

    Returns:
        uint8 [3, H, W], RGB; a view of [H, W, 3] in memory.

    Raises:
        OSError: The file is not there or is no image.
    """
    if not is_utf8(str(path)):  # it would end the process
        raise OSError(f"{path}: its name is not UTF-8 text")
    # Not PIL: OpenCV decodes twice as fast to the same pixels.
    flag = REDUCED[reduction] if reduction > 1 and _is_jpeg(path) else cv2.IMREAD_COLOR_RGB
    pixels = cv2.imread(str(path), flag | cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise OSError(f"{path}: no such file, or not a readable image")
    return torch.from_numpy(pixels).permute(2, 0, 1)


def is_utf8(name: str) -> bool:
    """Whether a file name is UTF-8 text; on Linux it need not be."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_jpeg(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(3) == b"\xff\xd8\xff"


def inspect_image(path: Path) -> tuple[int, int] | str:
    """Whether an image can be used, without the cost of decoding all of it.

    The whole file is read: the checksums of a PNG, a JPEG at an eighth of its size.

    Returns:
        (height, width), or what is wrong.
    """
    if not is_utf8(str(path)):
        return "its name is not UTF-8 text"
    try:
        with Image.open(path) as image:
            width, height = image.size
            if min(width, height) < SMALLEST:
                return f"{width}x{height} pixels, at least {SMALLEST}x{SMALLEST} expected"
            if image.mode[0] in "IF":
                return f"{image.mode} pixels, 8 bits a channel expected"
            if (bits := _bits(path, image)) > 8:
                return f"{bits} bits a channel, 8 expected"
            if (turned := _orientation(image)) not in (0, 1):
                return f"orientation {turned} (EXIF), which is not applied: write it upright, without that"
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


def _orientation(image: Image.Image) -> int:
    """How the camera was held; 1, upright, also where what says so cannot be read."""
    try:
        if image.format != "PNG":
            return int(image.getexif().get(ORIENTATION, 1))
        exif = Image.Exif()  # image.getexif() would decode all of a PNG
        exif.load(image.info.get("exif", b""))
        return int(exif.get(ORIENTATION, 1))
    except (SyntaxError, ValueError, struct.error):
        return 1


def _bits(path: Path, image: Image.Image) -> int:
    """Bits a channel as the header says: PIL opens colours of 16 bits as if they had 8."""
    if image.format == "PNG":
        with path.open("rb") as file:
            return file.read(25)[24]
    if isinstance(image, TiffImageFile):
        return max(image.tag_v2.get(BITS, (8,)))
    return 8


def digest(path: Path) -> bytes:
    """SHA-256 of a file's contents, 32 bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
