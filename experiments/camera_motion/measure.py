"""How exactly and how fast each registration method finds a known camera shake.

    python experiments/camera_motion/measure.py results.csv [--frames FOLDER]

The after frame of generated pairs is moved by up to 8 pixels and turned by up to 2 degrees, its
border reflected. An error is the mean distance in pixels of the four frame corners between the true
and the estimated motion. With --frames also pairs of frames of a real fixed camera. Writes a table,
one line for each kind of pair and method; an existing file is not overwritten.
"""

import argparse
import csv
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from detr_diff.choices import Registration
from detr_diff.data.image import read_image
from detr_diff.data.registration import align, estimate
from detr_diff.data.synthetic import Scene, SceneSettings

SHIFT, TURN = 8.0, 2.0  # pixels along each axis, degrees
METHODS = (Registration.none, Registration.phase, Registration.ecc, Registration.orb)


class Shaken(NamedTuple):
    """A pair, uint8 [3, H, W] each, and the true motion, float64 [2, 3]."""

    before: torch.Tensor
    after: torch.Tensor
    motion: np.ndarray


def shake(before: np.ndarray, after: np.ndarray, rng: np.random.Generator) -> Shaken:
    """Move and turn the after frame, uint8 [H, W, 3]."""
    height, width = after.shape[:2]
    motion = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), rng.uniform(-TURN, TURN), 1)
    motion[:, 2] += rng.uniform(-SHIFT, SHIFT, 2)
    after = cv2.warpAffine(after, motion, (width, height), borderMode=cv2.BORDER_REFLECT)
    return Shaken(*(torch.from_numpy(frame).permute(2, 0, 1) for frame in (before, after)), motion)


def scenes(width: int, height: int, pairs: int, hard: bool = False) -> Iterator[Shaken]:
    """One generated pair of each of so many scenes."""
    settings = SceneSettings(width=width, height=height, seed=2024, shake=0)
    rng = np.random.default_rng(0)
    for number in range(pairs):
        pair = Scene(number, settings).pair(0)
        before, after = pair.before, pair.after
        if hard:
            before, after = large_object(before, after, rng)
        yield shake(before, after, rng)


def large_object(
    before: np.ndarray, after: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """An object of strong contrast on a fifth of the frame moves by a tenth of its width, and the
    light falls by a tenth."""
    height, width = before.shape[:2]
    size = (int(width * 0.2**0.5), int(height * 0.2**0.5))
    picture = cv2.resize(rng.integers(0, 255, (12, 16, 3), np.uint8), size, interpolation=cv2.INTER_CUBIC)
    x, y = rng.integers(0, width - size[0] - width // 10), rng.integers(0, height - size[1])
    frames = [before.copy(), (after * 0.9).astype(np.uint8)]
    for frame, moved in zip(frames, (0, width // 10), strict=True):
        frame[y : y + size[1], x + moved : x + moved + size[0]] = picture
    return frames[0], frames[1]


def real(folder: Path, pairs: int) -> Iterator[Shaken]:
    """Frames of one camera, 30 files apart."""
    paths = sorted(folder.glob("*.jpg"))
    rng = np.random.default_rng(0)
    for first in rng.integers(0, len(paths) - 30, pairs):
        frames = [read_image(paths[index]).permute(1, 2, 0).numpy() for index in (first, first + 30)]
        yield shake(frames[0], frames[1], rng)


def corner_error(motion: np.ndarray, shaken: Shaken) -> float:
    """Mean distance in pixels between the true and the estimated corners of the after frame."""
    height, width = shaken.after.shape[1:]
    corners = np.array([[0, 0, 1], [width - 1, 0, 1], [0, height - 1, 1], [width - 1, height - 1, 1]])
    return float(np.linalg.norm(corners @ (motion - shaken.motion).T, axis=1).mean())


def measure(kind: str, shaken: list[Shaken], method: Registration) -> dict[str, object]:
    """A line of the table; times are medians in milliseconds of estimate and warp together."""
    errors, wall, processor = [], [], []
    for pair in shaken:
        motion = estimate(pair.before, pair.after, method)
        errors.append(np.nan if motion is None else corner_error(motion, pair))
        start = time.perf_counter(), time.process_time()
        align(pair.before, pair.after, method)
        wall.append(1000 * (time.perf_counter() - start[0]))
        processor.append(1000 * (time.process_time() - start[1]))
    found = np.array(errors)
    return {
        "pairs": kind,
        "number": len(shaken),
        "method": method.value,
        "median_error": round(float(np.nanmedian(found)), 3),
        "error_95": round(float(np.nanquantile(found, 0.95)), 3),
        "worst_error": round(float(np.nanmax(found)), 3),
        "within_half_pixel": round(float((found <= 0.5).mean()), 4),
        "implausible": round(float(np.isnan(found).mean()), 4),
        "ms_wall": round(float(np.median(wall)), 1),
        "ms_processor": round(float(np.median(processor)), 1),
    }


def main() -> None:
    """Measure all methods on all kinds of pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path, help="a new CSV file")
    parser.add_argument("--frames", type=Path, help="folder of JPEG frames of a fixed camera")
    words = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    kinds = {
        "demo 160x128": lambda: scenes(160, 128, 200),
        "demo 160x128, large object": lambda: scenes(160, 128, 100, hard=True),
        "scenes 640x480": lambda: scenes(640, 480, 20),
        "scenes 640x480, large object": lambda: scenes(640, 480, 20, hard=True),
        "scenes 1920x1080": lambda: scenes(1920, 1080, 10),
    }
    if words.frames:
        kinds[f"real, {words.frames.parent.name}"] = lambda: real(words.frames, 30)
    rows = []
    with words.out.open("x", newline="") as file:
        for kind, make in track(kinds.items(), "measuring", console=Console(stderr=True)):
            shaken = list(make())
            rows += [measure(kind, shaken, method) for method in METHODS]
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
