"""Scenes with six classes, as a detector was pretrained on that knows ours under other ids.

    python experiments/class_head_by_name/pretraining_data.py OUT [DEMO]

OUT gets generated scenes in which boxes, dogs and trucks move too. DEMO is the demo data: OUT/demo then
gets its frames with the ids of the six classes, so that the pretrained detector can be evaluated on them.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from detr_diff.choices import Places
from detr_diff.data import sprites, synthetic
from detr_diff.data.description import write_description
from detr_diff.data.sprites import SPRITE, Array, Thing

THEIRS = ("dog", "bicycle", "truck", "car", "box", "person")
PAIRS, SCENES, SEED = 2250, 225, 77


def _dog(rng: np.random.Generator) -> Array:
    width = int(SPRITE * rng.uniform(1.3, 1.5))
    image = np.zeros((SPRITE, width, 4), np.float32)
    fur = sprites._colour(rng)
    cv2.ellipse(image, (int(width * 0.45), 48), (int(width * 0.3), 17), 0, 0, 360, fur, -1)
    cv2.circle(image, (int(width * 0.82), 26), 17, fur, -1)
    cv2.line(image, (int(width * 0.68), 44), (int(width * 0.8), 30), fur, 14)
    for x in (0.22, 0.32, 0.6, 0.7):
        cv2.line(image, (int(width * x), 56), (int(width * x), SPRITE - 3), fur, 9)
    cv2.line(image, (int(width * 0.16), 42), (3, 20), fur, 7)
    return image


def _truck(rng: np.random.Generator) -> Array:
    width = int(SPRITE * rng.uniform(1.9, 2.3))
    image = np.zeros((SPRITE, width, 4), np.float32)
    cv2.rectangle(image, (2, 3), (int(width * 0.68), 78), sprites._colour(rng), -1)
    cv2.rectangle(image, (int(width * 0.72), 28), (width - 3, 78), sprites._colour(rng), -1)
    cv2.rectangle(image, (int(width * 0.82), 34), (width - 8, 54), (0.2, 0.25, 0.3, 1.0), -1)
    for x in (0.16, 0.36, 0.84):
        cv2.circle(image, (int(width * x), 80), 14, (0.06, 0.06, 0.06, 1.0), -1)
    return image


def _box(rng: np.random.Generator) -> Array:
    width = int(SPRITE * rng.uniform(0.9, 1.3))
    image = np.zeros((SPRITE, width, 4), np.float32)
    cv2.rectangle(image, (2, 3), (width - 3, SPRITE - 3), sprites._colour(rng), -1)
    cv2.rectangle(image, (width // 2 - 5, 3), (width // 2 + 5, SPRITE - 3), sprites._colour(rng), -1)
    return image


PICTURES = dict(zip(sprites.NAMES, sprites.PICTURES, strict=True)) | {
    "dog": _dog,
    "truck": _truck,
    "box": _box,
}
HEIGHTS = dict(zip(sprites.NAMES, sprites.HEIGHTS, strict=True)) | {"dog": 0.5, "truck": 1.1, "box": 0.5}


def random_thing(rng: np.random.Generator) -> Thing:
    label = int(rng.integers(len(THEIRS)))
    return Thing(label, PICTURES[THEIRS[label]](rng))


def renumbered(demo: Path, out: Path) -> None:
    """The demo's frames, and its labels with the ids of the six classes."""
    out.mkdir(parents=True)
    (out / "images").symlink_to((demo / "images").absolute())
    for path in (demo / "labels").rglob("*.txt"):
        copy = out / path.relative_to(demo)
        copy.parent.mkdir(parents=True, exist_ok=True)
        rows = [line.split() for line in path.read_text().splitlines()]
        ids = (THEIRS.index(sprites.NAMES[int(row[0])]) for row in rows)
        copy.write_text(
            "".join(f"{label} {' '.join(row[1:])}\n" for label, row in zip(ids, rows, strict=True))
        )
    write_description(out, THEIRS, Places.changed)


if __name__ == "__main__":
    out = Path(sys.argv[1])
    synthetic.random_thing = random_thing
    synthetic.HEIGHTS = tuple(HEIGHTS[name] for name in THEIRS)
    synthetic.NAMES = THEIRS
    for _ in synthetic.generate(out, PAIRS, SCENES, synthetic.SceneSettings(seed=SEED)):
        pass
    if len(sys.argv) > 2:
        renumbered(Path(sys.argv[2]), out / "demo")
