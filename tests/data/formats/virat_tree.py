"""Generates the layout of the VIRAT course project: textured objects that stay, move, come and go."""

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from tests.data.formats.pictures import save

WIDTH, HEIGHT = 192, 144
SIZES = {0: (14, 14), 1: (10, 22), 2: (34, 18), 3: (44, 24), 4: (12, 12), 5: (18, 16)}
Box = tuple[int, int, int, int]


@dataclass
class Truth:
    """What is in a pair: (type, old x y w h, new x y w h), and how many objects stayed."""

    folder: str
    frames: tuple[int, int]
    moved: list[tuple[int, Box, Box]] = field(default_factory=list)
    appeared: list[tuple[int, Box]] = field(default_factory=list)
    left: list[tuple[int, Box]] = field(default_factory=list)
    stayed: int = 0


def generate(root: Path, pairs: int, recordings: list[str], seed: int = 0) -> list[Truth]:
    """Write `index.txt` and `data/Pair_<recording>_<frame 1>_<frame 2>/`; returns what is in them."""
    truths, lines = [], []
    for index in range(pairs):
        recording = recordings[index % len(recordings)]
        rng = np.random.default_rng([seed, index])
        frames = (60 * index + 3, 60 * index + 63)
        truth = Truth(f"Pair_{recording}_{frames[0]}_{frames[1]}", frames)
        ground = np.random.default_rng([seed, sum(map(ord, recording))])
        pictures = [_texture(ground, WIDTH, HEIGHT, 24, 0.4)] * 2
        rows: list[list[tuple[int, Box]]] = [[], []]
        _furnish(rng, truth, pictures := [picture.copy() for picture in pictures], rows)
        fields = []
        for picture, frame, objects in zip(pictures, frames, rows, strict=True):
            stem = f"data/{truth.folder}/{recording}_frame_{frame}"
            light = rng.uniform(-5, 5) + rng.normal(0, 2.5, picture.shape)
            save(root / f"{stem}.png", np.clip(picture + light, 0, 255).astype(np.uint8))
            order = rng.permutation(len(objects))
            # The ids are of this frame alone: the same object has another one in the other frame.
            text = "".join(
                f"{number} 300 {frame} {' '.join(map(str, objects[k][1]))} {objects[k][0]}\n"
                for number, k in enumerate(order)
            )
            (root / f"{stem}.annotation.txt").write_text(text)
            fields += [f"{stem}.png", f"{stem}.annotation.txt"]
        lines.append(",".join(fields))
        truths.append(truth)
    (root / "index.txt").write_text("\n".join(lines) + "\n")
    return truths


def _furnish(
    rng: np.random.Generator,
    truth: Truth,
    pictures: list[npt.NDArray[np.float64]],
    rows: list[list[tuple[int, Box]]],
) -> None:
    """Put objects into both frames."""
    taken: list[Box] = []
    alike: tuple[int, npt.NDArray[np.float64]] | None = None
    for what in rng.permutation(["stays"] * 3 + ["moves"] * 3 + ["comes", "goes", "twin", "twin", "shifts"]):
        kind = int(rng.integers(0, 6))
        look = _texture(rng, *SIZES[kind], 5, 1.0)
        if what == "twin":  # of two objects that look the same one stays and one moves
            kind, look = alike or (kind, look)
            what = "stays" if alike is None else "moves"
            alike = (kind, look)
        places = [_place(rng, kind, taken) for _ in range(2)]
        if None in places:
            continue
        old, new = (place for place in places if place is not None)
        if what == "stays":
            new = old
        if what == "shifts":  # a step so small that the boxes still overlap: no move
            new = (old[0] + max(1, old[2] // 4), *old[1:])
        if what in ("moves", "comes", "goes") and _touch(old, new):
            continue
        taken += [old, new]
        for role, place in enumerate((old, new)):
            if what != ("comes", "goes")[role]:
                x, y, w, h = place
                pictures[role][y : y + h, x : x + w] = look[:, : min(w, WIDTH - x)]
                # A type that the annotator did not know in one of the frames.
                known = kind if role or rng.random() > 0.1 else 0
                rows[role].append((known, place))
        if what == "moves":
            truth.moved.append((kind, old, new))
        elif what == "comes":
            truth.appeared.append((kind, new))
        elif what == "goes":
            truth.left.append((rows[0][-1][0], old))
        else:
            truth.stayed += 1


def _place(rng: np.random.Generator, kind: int, taken: list[Box]) -> Box | None:
    """A free place; None when there is hardly any."""
    width, height = SIZES[kind]
    for _ in range(50):
        box = (int(rng.integers(0, WIDTH - width - 12)), int(rng.integers(0, HEIGHT - height)), width, height)
        wide = (box[0], box[1], width + 12, height)
        if not any(_touch(wide, (x, y, w + 12, h)) for x, y, w, h in taken):
            return box
    return None


def _touch(a: Box, b: Box) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


def _texture(
    rng: np.random.Generator, width: int, height: int, cells: int, contrast: float
) -> npt.NDArray[np.float64]:
    """Random colours, smooth over the picture."""
    colour = rng.uniform(40, 215, 3)
    coarse = colour + contrast * rng.normal(0, 30, (cells, cells, 3))
    return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), 0, 255)
