"""Many frame pairs on one picture: before, after and diff side by side, with boxes and a reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from detr_diff.evaluation.overlays import PREDICTION, TRUTH

STILL = (255, 70, 70)
CELL = 320  # pixels, the longer side of a frame on the sheet
GAP = 8
LINE = 20  # height of a line of text
COLUMNS = 2
BACKGROUND, INK, FAINT = (24, 24, 24), (235, 235, 235), (160, 160, 160)


@dataclass(frozen=True)
class Shown:
    """A frame pair on the sheet.

    Attributes:
        name: Of the pair.
        reason: Why it is shown, in words.
        frames: before, after and diff, uint8 [3, H, W] each.
        boxes: Labelled boxes, [N, 4] xyxy in pixels.
        still: bool [N], boxes under which nothing changed.
        unlabelled: Changed places without a box, [K, 4] xyxy in pixels.
    """

    name: str
    reason: str
    frames: tuple[Tensor, Tensor, Tensor]
    boxes: npt.NDArray[np.float64]
    still: npt.NDArray[np.bool_]
    unlabelled: npt.NDArray[np.int64]


def contact_sheet(title: str, sections: Mapping[str, Sequence[Shown]]) -> Tensor:
    """Draw the pairs, two in a row, under a heading for each section.

    Boxes are green, red where nothing changed under them; changed places without a box orange.

    Returns:
        uint8 [3, H, W].
    """
    path = font_manager.findfont("DejaVu Sans")
    text, heading = ImageFont.truetype(path, 13), ImageFont.truetype(path, 18)
    width = COLUMNS * (3 * CELL + 2 * GAP) + (COLUMNS + 1) * 2 * GAP
    strips = [_header(title, width, text, heading)]
    for name, pairs in sections.items():
        strips.append(_line(name, width, heading))
        for first in range(0, len(pairs), COLUMNS):
            tiles = [_tile(pair, text) for pair in pairs[first : first + COLUMNS]]
            strip = Image.new("RGB", (width, max(tile.height for tile in tiles) + GAP), BACKGROUND)
            for column, tile in enumerate(tiles):
                strip.paste(tile, (2 * GAP + column * (3 * CELL + 4 * GAP), 0))
            strips.append(strip)
    sheet = Image.new("RGB", (width, sum(strip.height for strip in strips) + GAP), BACKGROUND)
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    return torch.from_numpy(np.array(sheet)).permute(2, 0, 1).contiguous()


def _header(
    title: str, width: int, text: ImageFont.FreeTypeFont, heading: ImageFont.FreeTypeFont
) -> Image.Image:
    strip = Image.new("RGB", (width, 2 * LINE + 3 * GAP), BACKGROUND)
    draw = ImageDraw.Draw(strip)
    draw.text((2 * GAP, GAP), f"{title}: before, after, diff", INK, heading)
    left = 2.0 * GAP
    for words, colour in (
        ("labelled", TRUTH),
        ("labelled, but nothing changed under it", STILL),
        ("changed, but without a label", PREDICTION),
    ):
        draw.rectangle((left, LINE + 2 * GAP + 2, left + 12, LINE + 2 * GAP + 14), outline=colour, width=2)
        draw.text((left + 20, LINE + 2 * GAP), words, INK, text)
        left += 20 + draw.textlength(words, text) + 24
    return strip


def _line(words: str, width: int, font: ImageFont.FreeTypeFont) -> Image.Image:
    strip = Image.new("RGB", (width, LINE + 2 * GAP), BACKGROUND)
    ImageDraw.Draw(strip).text((2 * GAP, GAP), words, INK, font)
    return strip


def _tile(pair: Shown, font: ImageFont.FreeTypeFont) -> Image.Image:
    height, width = pair.frames[0].shape[1:]
    scale = CELL / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    tile = Image.new("RGB", (3 * CELL + 2 * GAP, size[1] + 2 * LINE), BACKGROUND)
    draw = ImageDraw.Draw(tile)
    for words, colour, top in ((pair.name, INK, 0), (pair.reason, FAINT, LINE - 3)):
        draw.text((0, top), _fitting(words, tile.width, draw, font), colour, font)
    enlarged = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    for column, frame in enumerate(pair.frames):
        cell = Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy()).resize(size, enlarged)
        pen = ImageDraw.Draw(cell)
        coloured = [
            *((box, STILL if still else TRUTH) for box, still in zip(pair.boxes, pair.still, strict=True)),
            *((box, PREDICTION) for box in pair.unlabelled),
        ]
        for box, colour in coloured:
            x0, y0, x1, y1 = (np.asarray(box) * scale).clip(0, [*size, *size]).tolist()
            pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=colour, width=2)
        tile.paste(cell, (column * (CELL + GAP), 2 * LINE))
    return tile


def _fitting(words: str, width: int, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont) -> str:
    """The words, cut at the end when they are too long."""
    while draw.textlength(words, font) > width:
        words = words[: -2 - words.endswith("…")] + "…"
    return words
