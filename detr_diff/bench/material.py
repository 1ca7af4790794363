"""Frame pairs to measure with, in the layout that both sides read."""

import os
from pathlib import Path

import cv2
import numpy as np
import torch

from detr_diff.data.ahead import threads
from detr_diff.data.description import write_description
from detr_diff.data.sprites import NAMES
from detr_diff.data.synthetic import Scene, SceneSettings

DIFFERENT = 64  # pairs; more are links to these
DRAWN = (480, 360)  # larger frames are drawn so large and enlarged
NOISE = 2.0  # grey levels, put on an enlarged frame so that it is as hard to decode as a real one
MOST = 12  # objects in an image of generated predictions


def write_pairs(root: Path, pairs: int, frame: tuple[int, int], suffix: str = ".png") -> Path:
    """Write a data set unless it is there already.

    Args:
        root: Its folder.
        pairs: How many; after the first 64 the same pictures come again, as links.
        frame: Width and height of the frames.
        suffix: .png or .jpg.
    """
    if (root / "dataset.yaml").exists():
        return root
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    width, height = (min(side, drawn) for side, drawn in zip(frame, DRAWN, strict=True))
    scene = Scene(0, SceneSettings(width=width, height=height, empty=0.0))
    different = min(pairs, DIFFERENT)

    def draw(index: int) -> None:
        pair, rng = scene.pair(index), np.random.default_rng(index)
        for role, drawn in (("before", pair.before), ("after", pair.after)):
            path = root / "images" / f"{index:07d}_{role}{suffix}"
            cv2.imwrite(str(path), cv2.cvtColor(_enlarged(drawn, frame, rng), cv2.COLOR_RGB2BGR))
        rows = "".join(f"{label} {cx:.6f} {cy:.6f} {w:.6f} {h:.6f}\n" for label, cx, cy, w, h in pair.rows)
        (root / "labels" / f"{index:07d}.txt").write_text(rows)

    with threads() as pool:
        list(pool.map(draw, range(different)))
    for index in range(different, pairs):
        for role in ("before", "after"):
            source = root / "images" / f"{index % different:07d}_{role}{suffix}"
            os.link(source, root / "images" / f"{index:07d}_{role}{suffix}")
        os.link(root / "labels" / f"{index % different:07d}.txt", root / "labels" / f"{index:07d}.txt")
    write_description(root, NAMES, None)
    return root


def halve(root: Path) -> None:
    """Say in pairs.csv that the first half of the pairs learns and the other one validates."""
    labels = sorted((root / "labels").glob("*.txt"))
    lines = ["before,after,label,split"]
    for place, label in enumerate(labels):
        before, after = (
            next((root / "images").glob(f"{label.stem}_{role}.*")) for role in ("before", "after")
        )
        split = "train" if 2 * place < len(labels) else "val"
        lines.append(f"images/{before.name},images/{after.name},labels/{label.name},{split}")
    (root / "pairs.csv").write_text("\n".join(lines) + "\n")


def _enlarged(frame: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    if (frame.shape[1], frame.shape[0]) == size:
        return frame
    large = cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC).astype(np.int16)
    return np.clip(large + rng.normal(0, NOISE, large.shape), 0, 255).astype(np.uint8)


def write_predictions(path: Path, images: int, predictions: int) -> Path:
    """Predictions and true boxes as both sides give them to their metrics.

    Some predictions are near an object, the others anywhere with low scores.

    Args:
        path: Of the file, see torch.load.
        images: How many.
        predictions: In each image.
    """
    rng = np.random.default_rng(0)
    found, truths = [], []
    for _ in range(images):
        count = int(rng.integers(1, MOST))
        corner = rng.uniform(0, 500, (count, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(12, 90, (count, 2))], 1)
        labels = rng.integers(0, len(NAMES), count)
        near = min(predictions // 2, 2 * count)
        chosen = rng.integers(0, count, near)
        shaken = boxes[chosen] + rng.normal(0, 5, (near, 4))
        shaken[:, 2:] = np.maximum(shaken[:, 2:], shaken[:, :2] + 1)
        rest = predictions - near
        corner = rng.uniform(0, 500, (rest, 2))
        anywhere = np.concatenate([corner, corner + rng.uniform(12, 90, (rest, 2))], 1)
        found.append(
            {
                "boxes": torch.from_numpy(np.concatenate([shaken, anywhere])).float(),
                "scores": torch.from_numpy(
                    np.concatenate([rng.beta(4, 2, near), rng.beta(1, 8, rest)])
                ).float(),
                "labels": torch.from_numpy(
                    np.concatenate([labels[chosen], rng.integers(0, len(NAMES), rest)])
                ),
            }
        )
        truths.append({"boxes": torch.from_numpy(boxes).float(), "labels": torch.from_numpy(labels)})
    torch.save((found, truths), path)
    return path
