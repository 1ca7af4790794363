"""Generated surveillance-like scenes, written as an ordinary data set in layout (a).

A scene is one fixed camera: a textured ground in perspective, walls, poles and parked objects.
A pair is two frames of it: some objects moved, and everything that plagues real pairs is there:
shadows, another light, sensor noise, a little camera shake, occlusion.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from detr_diff.choices import PLACES, Places
from detr_diff.data.description import write_description
from detr_diff.data.sprites import HEIGHTS, NAMES, SPRITE, Array, Thing, random_thing

MIN_VISIBLE = 0.35  # an object that shows less than this share of itself is not labelled


@dataclass(frozen=True)
class SceneSettings:
    """What the generated scenes look like.

    Attributes:
        width: Of a frame, in pixels.
        height: Of a frame, in pixels.
        seed: The same seed gives the same files.
        empty: Share of pairs in which nothing moved.
        appear: Probability that an object appears or leaves instead of moving.
        shake: Largest camera shift between the frames, in pixels.
        turn: Largest camera rotation between the frames, in degrees.
        noise: Standard deviation of the sensor noise, in grey levels.
    """

    width: int = 160
    height: int = 128
    seed: int = 0
    empty: float = 0.1
    appear: float = 0.0
    shake: float = 0.7
    turn: float = 0.0
    noise: float = 2.5


@dataclass(frozen=True)
class Place:
    """Where an object stands: its foot point in pixels and whether it looks to the left."""

    x: float
    y: float
    mirrored: bool


@dataclass(frozen=True)
class GeneratedPair:
    """Two frames, uint8 [H, W, 3] RGB, rows (class, cx, cy, w, h), normalised, and their (place, object)."""

    before: npt.NDArray[np.uint8]
    after: npt.NDArray[np.uint8]
    rows: list[tuple[int, float, float, float, float]]
    places: list[tuple[Places, int]]


def generate(out: Path, pairs: int, scenes: int, settings: SceneSettings) -> Iterator[None]:
    """Write a data set; yields after each pair, for a progress bar.

    Args:
        out: A folder; images/, labels/ and, last, dataset.yaml are written into it.
        pairs: Number of frame pairs.
        scenes: Number of cameras that share them.
        settings: See SceneSettings.
    """
    for number in range(scenes):
        name = f"scene_{number:04d}"
        for folder in ("images", "labels"):
            (out / folder / name).mkdir(parents=True)
        scene = Scene(number, settings)
        for index in range(number, pairs, scenes):
            pair = scene.pair(index)
            for role, frame in (("before", pair.before), ("after", pair.after)):
                path = out / "images" / name / f"{index:06d}_{role}.jpg"
                bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
                cv2.imwrite(str(path), bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])
            lines = "".join(
                f"{label} {cx:.6f} {cy:.6f} {w:.6f} {h:.6f} {place} {thing}\n"
                for (label, cx, cy, w, h), (place, thing) in zip(pair.rows, pair.places, strict=True)
            )
            (out / "labels" / name / f"{index:06d}.txt").write_text(lines)
            yield
    write_description(out, NAMES, Places.changed)


class Scene:
    """One fixed camera; everything about it is a function of (seed, number)."""

    def __init__(self, number: int, settings: SceneSettings) -> None:
        self.number = number
        self.settings = settings
        rng = np.random.default_rng([settings.seed, number])
        height, width = settings.height, settings.width
        self.horizon = int(height * rng.uniform(0.12, 0.3))
        self.background = _background(rng, height, width, self.horizon)
        self.sun = rng.uniform(-0.6, 0.6)
        self.poles = [
            (int(rng.uniform(0.05, 0.95) * width), int(rng.integers(2, 5)), rng.uniform(40, 90))
            for _ in range(rng.integers(0, 3))
        ]
        parked = [random_thing(rng) for _ in range(rng.integers(0, 4))]
        self.parked = self._place(rng, parked, [])

    def pair(self, index: int) -> GeneratedPair:
        """The frame pair of that index, a function of (seed, number, index)."""
        rng = np.random.default_rng([self.settings.seed, self.number, index])
        count = 0 if rng.random() < self.settings.empty else int(rng.integers(1, 4))
        before = list(self.parked)
        after = list(self.parked)
        moved: dict[int, int] = {}  # objects, by identity, to their numbers
        for thing in [random_thing(rng) for _ in range(count)]:
            taken = before + [item for item in after if item[0] is not thing]
            places = self._place(rng, [thing, thing], taken)
            if len(places) < 2:
                continue
            chance = rng.random()
            if chance >= self.settings.appear / 2:
                before.append(places[0])
            if not self.settings.appear / 2 <= chance < self.settings.appear:
                after.append(places[1])
            moved[id(thing)] = len(moved)
        # The earlier frame is the shaken one: all labels are places in the later one.
        shake, turn = rng.uniform(-1, 1, 2) * self.settings.shake, 0.0
        if self.settings.turn:
            turn = rng.uniform(-1, 1) * self.settings.turn
        rows, said, frames = [], [], []
        still = np.zeros(2), 0.0
        for word, things, (shift, angle) in zip(PLACES, (before, after), ((shake, turn), still), strict=True):
            frame, visible = self._draw(things)
            for (thing, _), box in zip(things, visible, strict=True):
                if id(thing) in moved and box is not None:
                    rows.append(self._row(thing.label, box))
                    said.append((word, moved[id(thing)]))
            frames.append(self._photograph(rng, frame, shift, angle))
        return GeneratedPair(frames[0], frames[1], rows, said)

    def _scale(self, y: float) -> float:
        """Perspective: objects nearer to the camera stand lower and are larger."""
        depth = (y - self.horizon) / (self.settings.height - self.horizon)
        return self.settings.height * (0.15 + 0.25 * depth)

    def _box(self, thing: Thing, place: Place) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 in pixels."""
        height = self._scale(place.y) * HEIGHTS[thing.label]
        width = height * thing.picture.shape[1] / SPRITE
        return place.x - width / 2, place.y - height, place.x + width / 2, place.y

    def _place(
        self, rng: np.random.Generator, things: list[Thing], taken: list[tuple[Thing, Place]]
    ) -> list[tuple[Thing, Place]]:
        """Places that hide nothing else for the most part; a thing without one is left out."""
        result: list[tuple[Thing, Place]] = []
        for thing in things:
            for _ in range(30):
                place = Place(
                    rng.uniform(0.04, 0.96) * self.settings.width,
                    rng.uniform(self.horizon + 0.12 * self.settings.height, self.settings.height),
                    bool(rng.random() < 0.5),
                )
                box = self._box(thing, place)
                # Old and new place of one object do not touch, others may overlap a little.
                others = [(_overlap(box, self._box(*o)), o[0] is thing) for o in result + taken]
                if box[1] > 0 and all(o <= (0.0 if same else 0.25) for o, same in others):
                    result.append((thing, place))
                    break
        return result

    def _draw(
        self, things: list[tuple[Thing, Place]]
    ) -> tuple[Array, list[tuple[int, int, int, int] | None]]:
        """A frame without noise, and the visible box of each thing (None when it is hidden)."""
        frame = self.background.copy()
        owner = np.full(frame.shape[:2], -1, np.int16)
        areas = [0] * len(things)
        for index in sorted(range(len(things)), key=lambda i: things[i][1].y):
            thing, place = things[index]
            x0, y0, x1, y1 = (round(value) for value in self._box(thing, place))
            size = (max(3, x1 - x0), max(4, y1 - y0))
            picture = cv2.resize(thing.picture, size, interpolation=cv2.INTER_AREA)
            if place.mirrored:
                picture = picture[:, ::-1]
            self._shadow(frame, x0, y1, size)
            left, top = max(0, -x0), max(0, -y0)
            rows = slice(max(0, y0), min(frame.shape[0], y0 + size[1]))
            columns = slice(max(0, x0), min(frame.shape[1], x0 + size[0]))
            picture = picture[top : top + rows.stop - rows.start, left : left + columns.stop - columns.start]
            alpha = picture[..., 3:]
            frame[rows, columns] += alpha * (picture[..., :3] * 255 - frame[rows, columns])
            owner[rows, columns][alpha[..., 0] > 0.5] = index
            areas[index] = int((cv2.resize(thing.picture[..., 3], size) > 0.5).sum())
        for x, thickness, grey in self.poles:
            frame[:, x : x + thickness] = grey
            owner[:, x : x + thickness] = -1
        visible: list[tuple[int, int, int, int] | None] = []
        for index, area in enumerate(areas):
            ys, xs = np.nonzero(owner == index)
            shown = len(xs) >= max(6, MIN_VISIBLE * area)
            visible.append((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) if shown else None)
        return frame, visible

    def _shadow(self, frame: Array, x0: int, y1: int, size: tuple[int, int]) -> None:
        shade = np.ones(frame.shape[:2], np.float32)
        centre = (int(x0 + size[0] / 2 + self.sun * size[0]), y1)
        cv2.ellipse(shade, centre, (int(size[0] * 0.6), max(1, size[1] // 9)), 0, 0, 360, 0.72, -1)
        frame *= shade[..., None]

    def _photograph(
        self, rng: np.random.Generator, frame: Array, shift: npt.NDArray[np.float64], angle: float
    ) -> npt.NDArray[np.uint8]:
        """Camera shift and rotation (degrees), light and sensor noise."""
        height, width = frame.shape[:2]
        centre = (width - 1) / 2, (height - 1) / 2
        matrix: Array = cv2.getRotationMatrix2D(centre, angle, 1.0).astype(np.float32)
        matrix[:, 2] += shift
        shaken = cv2.warpAffine(frame, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        slope = rng.uniform(-0.03, 0.03) * np.linspace(-1, 1, width, dtype=np.float32)[None, :, None]
        lit = shaken * (rng.uniform(0.96, 1.04) + slope) + rng.uniform(-4, 4)
        noise = rng.standard_normal(frame.shape, np.float32) * self.settings.noise
        return np.clip(lit + noise, 0, 255).astype(np.uint8)

    def _row(self, label: int, box: tuple[int, int, int, int]) -> tuple[int, float, float, float, float]:
        x0, x1 = (value / self.settings.width for value in box[::2])
        y0, y1 = (value / self.settings.height for value in box[1::2])
        return label, (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over the smaller of two boxes x0, y0, x1, y1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return max(0.0, width) * max(0.0, height) / smaller


def _background(rng: np.random.Generator, height: int, width: int, horizon: int) -> Array:
    """Sky or wall above the horizon, textured ground with a lane below, a few walls."""
    ground = rng.uniform(70, 150, 3).astype(np.float32)
    ground += (ground.mean() - ground) * 0.6
    image = np.empty((height, width, 3), np.float32)
    sky = rng.uniform(110, 210, 3)
    image[:horizon] = sky + (sky.mean() - sky) * 0.7
    image[horizon:] = ground
    lane = rng.uniform(0.2, 0.8) * width
    corners = [[lane - 4, horizon], [lane + 4, horizon]]
    corners += [[lane + rng.uniform(20, 90), height], [lane - rng.uniform(20, 90), height]]
    shade = tuple(float(value) for value in ground * rng.uniform(0.6, 0.85))
    cv2.fillPoly(image, [np.array(corners, np.int32)], shade)
    for _ in range(rng.integers(1, 5)):
        x, w = rng.uniform(0, width), rng.uniform(0.08, 0.3) * width
        top = int(horizon * rng.uniform(0.1, 0.8))
        wall = rng.uniform(60, 200, 3)
        wall += (wall.mean() - wall) * 0.6
        cv2.rectangle(image, (int(x), top), (int(x + w), horizon + 2), tuple(wall.tolist()), -1)
    for cells, strength in ((6, 14.0), (24, 9.0), (96, 6.0)):
        coarse = rng.standard_normal((cells, cells)).astype(np.float32) * strength
        image += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    return np.clip(image, 5, 250)
