"""One sample from a 1920x1080 PNG pair: cold and warm cache against the steps one after the other.

    python experiments/cache/measure.py RESULT.csv

All roads give a diff image of 480x640 and run in turns in one process, so that the ratios hold on
a busy machine. The reference is what the mission's pipeline does one after the other: decode with
PIL, resize, absdiff, image processor. The cold cache decodes on all cores, all others on one.
"""

import csv
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from transformers import DetrImageProcessor

from detr_diff.choices import Cache
from detr_diff.data.batch import collate
from detr_diff.data.cache import fill, open_store
from detr_diff.data.check import check
from detr_diff.data.dataset import MovedObjectDataset
from detr_diff.data.diff import Comparison
from detr_diff.data.discovery import discover
from detr_diff.data.pixels import batched
from detr_diff.data.synthetic import Scene, SceneSettings

SIZE = {"height": 480, "width": 640}
PAIRS, ROUNDS = 16, 4


def generate(root: Path) -> None:
    """Pairs of a generated scene, enlarged and with sensor noise, as PNG."""
    rng = np.random.default_rng(0)
    scene = Scene(0, SceneSettings(width=480, height=270, empty=0.0))
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    for index in range(PAIRS):
        pair = scene.pair(index)
        for role, frame in (("before", pair.before), ("after", pair.after)):
            large = cv2.resize(frame, (1920, 1080), interpolation=cv2.INTER_CUBIC).astype(np.int16)
            noisy = np.clip(large + rng.normal(0, 2, large.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(root / f"images/{index}_{role}.png")
        rows = (" ".join(map(str, row)) for row in pair.rows)
        (root / f"labels/{index}.txt").write_text("\n".join(rows))


def decoded(path: Path) -> Image.Image:
    """A frame, decoded by PIL."""
    with Image.open(path) as image:
        return image.convert("RGB")


def main() -> None:
    """Measure and write the table."""
    torch.set_num_threads(1)
    processor = DetrImageProcessor(size=SIZE)
    plain = DetrImageProcessor(do_resize=False)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        root.mkdir()
        generate(root)
        pairs = check(discover(root), ["person", "car", "bicycle"], contents=True).pairs
        cached, uncached = (MovedObjectDataset(pairs, Comparison(), processor) for _ in range(2))

        def decode(index: int) -> list[Image.Image]:
            pair = pairs[index].pair
            assert pair.before is not None
            return [decoded(pair.before), decoded(pair.after)]

        def reference(index: int) -> torch.Tensor:
            # The filter is that of the image processor, so that both roads do the same work.
            small = (frame.resize((640, 480), Image.Resampling.BILINEAR) for frame in decode(index))
            before, after = map(np.asarray, small)
            return plain(images=cv2.absdiff(before, after), return_tensors="pt")["pixel_values"][0]

        stores = iter(range(10**6))

        def ours(dataset: MovedObjectDataset, index: int) -> torch.Tensor:
            return batched(collate([dataset[index]]), processor).images[0]

        def cold(_: int) -> object:
            """What the first look at all pairs costs: prepare, write the shards, read them."""
            empty = MovedObjectDataset(pairs, Comparison(), processor)
            empty.keeps_diff = True
            fill(empty, open_store(Cache.disk, f"{folder}/cold{next(stores)}", 10.0, empty.recipe()))
            return [ours(empty, index) for index in range(PAIRS)]

        cached.keeps_diff = True  # as nothing varies the frames
        fill(cached, open_store(Cache.disk, f"{folder}/warm", 10.0, cached.recipe()))
        assert all(torch.equal(cached[i][0], uncached[i][0]) for i in range(PAIRS))
        steps = max(float((reference(i) - ours(uncached, i)).abs().max()) for i in range(PAIRS)) * 255 * 0.229
        print(f"largest difference to the reference: {steps:.2f} grey levels")
        roads: dict[str, Callable[[int], object]] = {
            "decode only (PIL)": decode,
            "reference: decode, resize, absdiff, processor": reference,
            "ours without cache": partial(ours, uncached),
            "ours, cold cache": cold,
            "ours, warm cache": partial(ours, cached),
        }
        times: dict[str, list[float]] = {name: [] for name in roads}
        for _ in range(ROUNDS):
            for index in range(PAIRS):
                for name, road in roads.items():
                    start = time.perf_counter()
                    road(index)
                    samples = PAIRS if road is cold else 1
                    times[name].append((time.perf_counter() - start) / samples)
    # The first round warms up.
    medians = {name: statistics.median(values[PAIRS:]) for name, values in times.items()}
    with Path(sys.argv[1]).open("x", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("road", "ms a sample", "times faster than decode", "times faster than the reference"))
        decode_s, reference_s = list(medians.values())[:2]
        for name, seconds in medians.items():
            row = (name, f"{1e3 * seconds:.2f}", f"{decode_s / seconds:.1f}", f"{reference_s / seconds:.1f}")
            rows.writerow(row)
            print(*row, sep="\t")


if __name__ == "__main__":
    main()
