import numpy as np
import torch

from detr_diff.evaluation.contact_sheet import CELL, STILL, Shown, contact_sheet
from detr_diff.evaluation.overlays import PREDICTION, TRUTH


def shown(name: str, height: int = 48, width: int = 64, boxes: int = 2) -> Shown:
    frames = tuple(torch.full((3, height, width), level, dtype=torch.uint8) for level in (40, 80, 120))
    edges = np.array([[4, 4, 20, 30], [30, 10, 50, 40]], np.float64)[:boxes]
    still = np.array([False, True])[:boxes]
    return Shown(name, "why", frames, edges, still, np.array([[52, 40, 63, 47]])[:boxes])  # type: ignore[arg-type]


def pixels(sheet: torch.Tensor, colour: tuple[int, int, int]) -> int:
    return int((sheet == torch.tensor(colour, dtype=torch.uint8)[:, None, None]).all(0).sum())


def test_frames_boxes_and_colours_are_on_the_sheet() -> None:
    bare = contact_sheet("data", {"random pairs": [shown("a", boxes=0)]})
    sheet = contact_sheet("data", {"random pairs": [shown("a")]})
    assert sheet.dtype == torch.uint8
    assert bare.shape == sheet.shape
    for colour in (TRUTH, STILL, PREDICTION):
        # More than the legend has, on each of the three frames.
        assert pixels(sheet, colour) - pixels(bare, colour) > 3 * 100
    area = CELL * CELL * 48 // 64
    for level in (40, 80, 120):  # and a few pixels of the letters
        assert area <= pixels(bare, (level, level, level)) < 1.01 * area


def test_two_pairs_stand_in_a_row() -> None:
    one, two, three = (
        contact_sheet("data", {"worst pairs": [shown(str(index)) for index in range(number)]})
        for number in (1, 2, 3)
    )
    assert one.shape == two.shape
    assert three.shape[1] > two.shape[1]
    headed = contact_sheet("data", {"worst pairs": [shown("a")], "random pairs": [shown("b")]})
    assert headed.shape[1] > three.shape[1] - CELL


def test_any_size_and_name_is_drawn() -> None:
    sizes = [(20, 200), (200, 20), (640, 480), (1, 1)]
    pairs = [shown("ä" * 500, height, width) for height, width in sizes]
    sheet = contact_sheet("data", {"suspicious pairs": pairs})
    assert sheet.shape[2] == contact_sheet("data", {}).shape[2]
