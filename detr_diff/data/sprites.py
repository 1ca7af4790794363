"""Pictures of the objects in generated scenes: persons, cars, bicycles."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
NAMES = ("person", "car", "bicycle")
HEIGHTS = (1.0, 0.72, 0.72)  # height of a class against that of a person
SPRITE = 96  # pixels; objects are drawn this high and then reduced


@dataclass(frozen=True)
class Thing:
    """An object: its class and its picture, RGBA float [96, W, 4] in [0, 1]."""

    label: int
    picture: Array


def random_thing(rng: np.random.Generator) -> Thing:
    """An object of a random class, shape and colour."""
    label = int(rng.integers(len(NAMES)))
    return Thing(label, PICTURES[label](rng))


def _colour(rng: np.random.Generator) -> tuple[float, float, float, float]:
    """A random opaque colour, dark or bright: grey ones vanish on a grey ground."""
    base = rng.uniform(0.0, 0.25) if rng.random() < 0.55 else rng.uniform(0.75, 0.95)
    r, g, b = np.clip(base + rng.uniform(-0.22, 0.22, 3), 0, 1)
    return float(r), float(g), float(b), 1.0


def _person(rng: np.random.Generator) -> Array:
    width = int(SPRITE * rng.uniform(0.4, 0.5))
    image = np.zeros((SPRITE, width, 4), np.float32)
    coat, trousers, skin = _colour(rng), _colour(rng), (0.75, 0.58, 0.46, 1.0)
    middle = width // 2
    stride = int(width * rng.uniform(0.15, 0.45))
    for side in (-1, 1):
        foot = (middle + side * stride, SPRITE - 3)
        cv2.line(image, (middle, 52), foot, trousers, width // 4)
    cv2.ellipse(image, (middle, 38), (int(width * 0.4), 24), 0, 0, 360, coat, -1)
    cv2.circle(image, (middle, 10), 9, skin, -1)
    return image


def _car(rng: np.random.Generator) -> Array:
    width = int(SPRITE * rng.uniform(1.9, 2.3))
    image = np.zeros((SPRITE, width, 4), np.float32)
    paint = _colour(rng)
    cv2.rectangle(image, (2, 38), (width - 3, 80), paint, -1)
    roof = [[width * 0.2, 40], [width * 0.32, 4], [width * 0.74, 4], [width * 0.9, 40]]
    cv2.fillPoly(image, [np.array(roof, np.int32)], paint)
    glass = [[width * 0.28, 38], [width * 0.36, 12], [width * 0.7, 12], [width * 0.8, 38]]
    cv2.fillPoly(image, [np.array(glass, np.int32)], (0.2, 0.25, 0.3, 1.0))
    for x in (0.22, 0.78):
        cv2.circle(image, (int(width * x), 78), 16, (0.06, 0.06, 0.06, 1.0), -1)
    return image


def _bicycle(rng: np.random.Generator) -> Array:
    width = int(SPRITE * rng.uniform(1.3, 1.5))
    image = np.zeros((SPRITE, width, 4), np.float32)
    frame, tyre = _colour(rng), (0.05, 0.05, 0.05, 1.0)
    wheels = ((24, 70), (width - 25, 70))
    for wheel in wheels:
        cv2.circle(image, wheel, 20, tyre, 8)
    seat, bar, pedal = (width // 3, 26), (int(width * 0.72), 16), (width // 2, 68)
    ends = ((wheels[0], seat), (seat, pedal), (pedal, bar), (bar, wheels[1]), (seat, bar))
    for start, end in ends:
        cv2.line(image, start, end, frame, 9)
    cv2.line(image, (bar[0] - 10, 8), (bar[0] + 12, 10), tyre, 9)
    return image


PICTURES: tuple[Callable[[np.random.Generator], Array], ...] = (_person, _car, _bicycle)
