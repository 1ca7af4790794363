"""Faults that users really meet, planted into generated data and settings."""

import csv
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from detr_diff.cli import main

SYNTH = ("pairs=96", "scenes=12")
WORDS = (
    "experiment=demo",
    "stages.all.epochs=60",
    "data.test=0",
    "data.val=0.2",
    "data.split_by=scene",
    "trainer.accelerator=cpu",
    "shown=0",
)
BY_COLUMN = ("data.split_by=column",)


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        name: In words.
        expected: The findings that name it.
        words: Settings that make it, or that it needs.
        plant: Spoils a copy of the data.
    """

    name: str
    expected: tuple[str, ...]
    words: tuple[str, ...] = ()
    plant: Callable[[Path], None] | None = None


def labels(root: Path) -> list[Path]:
    return sorted((root / "labels").rglob("*.txt"))


def frames(root: Path, role: str = "") -> list[Path]:
    return sorted((root / "images").rglob(f"*{role}.jpg"))


def rewrite(change: Callable[[list[str]], list[str] | None]) -> Callable[[Path], None]:
    """Change the words of every label line; None removes it."""

    def plant(root: Path) -> None:
        for path in labels(root):
            rows = [change(line.split()[:5]) for line in path.read_text().splitlines()]
            path.write_text("".join(" ".join(row) + "\n" for row in rows if row is not None))

    return plant


def boxes(change: Callable[[float, float, float, float], tuple[float, ...]]) -> Callable[[Path], None]:
    """Change the four numbers of every label line."""
    return rewrite(lambda row: [row[0], *(f"{value:.6f}" for value in change(*map(float, row[1:])))])


def repaint(
    change: Callable[[np.ndarray], np.ndarray], role: str = "", suffix: str = ".jpg"
) -> Callable[[Path], None]:
    """Change the pixels of frames."""

    def plant(root: Path) -> None:
        for path in frames(root, role):
            pixels = change(cv2.imread(str(path)))
            path.unlink()
            cv2.imwrite(str(path.with_suffix(suffix)), pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])

    return plant


def corners(cx: float, cy: float, w: float, h: float) -> tuple[float, ...]:
    low, high = (max(0, cx - w / 2), max(0, cy - h / 2)), (min(1, cx + w / 2), min(1, cy + h / 2))
    return *low, *high


def upper_left(cx: float, cy: float, w: float, h: float) -> tuple[float, ...]:
    return max(0, cx - w / 2), max(0, cy - h / 2), w, h


def half_of_rows(root: Path) -> None:
    rng = np.random.default_rng(0)
    rewrite(lambda row: row if rng.random() < 0.5 else None)(root)


def half_of_files(root: Path) -> None:
    for path in labels(root)[::2]:
        path.unlink()


def one_off(root: Path) -> None:
    texts = [path.read_text() for path in labels(root)]
    for path, text in zip(labels(root), texts[1:] + texts[:1], strict=True):
        path.write_text(text)


def after_only(root: Path) -> None:
    for path in labels(root):
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[len(lines) // 2 :]))  # the generator writes the old places first
    description = root / "dataset.yaml"
    description.write_text(description.read_text().replace("labels: changed", "labels: after"))


def swapped(every: int) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        after_only(root)
        for before in frames(root, "_before")[::every]:
            after = before.with_name(before.name.replace("_before", "_after"))
            pixels = before.read_bytes()
            before.write_bytes(after.read_bytes())
            after.write_bytes(pixels)

    return plant


def same(root: Path) -> None:
    for before in frames(root, "_before"):
        shutil.copy(before, before.with_name(before.name.replace("_before", "_after")))


def copied_scenes(root: Path) -> None:
    """Every scene a second time under another name, its frames saved anew."""
    for scene in sorted((root / "images").iterdir()):
        copy = scene.with_name(scene.name.replace("scene_0", "yard_0"))
        copy.mkdir()
        for path in sorted(scene.iterdir()):
            cv2.imwrite(str(copy / path.name), cv2.imread(str(path)), [cv2.IMWRITE_JPEG_QUALITY, 70])
        shutil.copytree(root / "labels" / scene.name, root / "labels" / copy.name)


def other_labels(root: Path) -> None:
    other = root.with_name("other")
    if not other.exists():
        assert main(["data", "synth", f"out={other}", "seed=77", *SYNTH]) == 0
    shutil.copytree(other / "labels", root / "labels_other")


def shaken(root: Path) -> None:
    shutil.rmtree(root)
    assert main(["data", "synth", f"out={root}", "shake=4", *SYNTH]) == 0


def truncated(root: Path) -> None:
    for path in frames(root, "_after")[::3]:
        path.write_bytes(path.read_bytes()[:400])


def broken_weights(root: Path) -> None:
    (root / "weights.pth").write_bytes(b"PK\x03\x04 half of a download")


def divided(val: Callable[[list[str]], bool]) -> Callable[[Path], None]:
    """A pairs.csv whose val part has the pairs for whose classes something holds."""

    def plant(root: Path) -> None:
        with (root / "pairs.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("before", "after", "label", "pair", "scene", "split"))
            for path in labels(root):
                name = path.relative_to(root / "labels").with_suffix("").as_posix()
                classes = [line.split()[0] for line in path.read_text().splitlines()]
                images = (f"images/{name}_before.jpg", f"images/{name}_after.jpg")
                split = "val" if val(classes) else "train"
                rows.writerow((*images, f"labels/{name}.txt", name, "", split))

    return plant


ANOTHER_FORMAT = ("labels in another format",)
SIZE = "model.processor.size={height: %d, width: %d}"

FAULTS = (
    Fault(
        "boxes in pixels",
        ("boxes in pixels",),
        (),
        boxes(lambda cx, cy, w, h: (cx * 160, cy * 128, w * 160, h * 128)),
    ),
    Fault(
        "classes counted from 1",
        ("classes counted from 1",),
        (),
        rewrite(lambda r: [str(int(r[0]) + 1), *r[1:]]),
    ),
    Fault(
        "classes off by one, the last kept",
        ("class never used",),
        (),
        rewrite(lambda r: [str(min(2, int(r[0]) + 1)), *r[1:]]),
    ),
    Fault("frames swapped in a third of the pairs", ("frames swapped",), ("data.diff=stack",), swapped(3)),
    Fault("frames swapped in all pairs", ("frames swapped",), ("data.diff=signed",), swapped(1)),
    Fault("x and y swapped", ANOTHER_FORMAT, (), boxes(lambda cx, cy, w, h: (cy, cx, h, w))),
    Fault("corners x0 y0 x1 y1", ANOTHER_FORMAT, (), boxes(corners)),
    Fault("upper left corner, w, h", ANOTHER_FORMAT, (), boxes(upper_left)),
    Fault(
        "boxes divided twice", ("tiny boxes",), (), boxes(lambda *box: tuple(value / 128 for value in box))
    ),
    Fault("all frozen", ("nothing learns",), ("stages.all.lr=0",)),
    Fault("heads alone learn on random weights", ("frozen random weights",), ("stages.all.learn=heads",)),
    Fault("learning rate 100 times too high", ("learning rate too high",), ("stages.all.lr=0.1",)),
    Fault("learning rate 100 times too low", ("learning rate too low",), ("stages.all.lr=1e-5",)),
    Fault("no normalisation", ("images not normalised",), ("+model.processor.do_rescale=false",)),
    Fault(
        "no normalisation (DETR)",
        ("images not normalised",),
        ("model=detr_tiny", "+model.processor.do_normalize=false"),
    ),
    Fault("wrong label folder", ("labels do not fit",), ("data.labels=labels_other",), other_labels),
    Fault("half of the label rows missing", ("labels missing",), (), half_of_rows),
    Fault("half of the label files missing", ("label files missing",), (), half_of_files),
    Fault("camera shake of 4 px", ("camera shake",), (), shaken),
    Fault("copies of the scenes in another split", ("picture in two splits",), (), copied_scenes),
    Fault("scenes divided by pair", ("scene in two splits",), ("data.split_by=pair",)),
    Fault("fewer queries than objects", ("fewer queries than objects",), ("model.config.num_queries=3",)),
    Fault("labels one pair off", ("labels of another pair",), (), one_off),
    Fault("after is a copy of before", ("before is after",), (), same),
    Fault("AFTER places alone, symmetric diff", ("one place labelled",), (), after_only),
    Fault(
        "accumulation longer than an epoch",
        ("too few optimizer steps", "accumulation longer than an epoch"),
        ("trainer.accumulate_grad_batches=64", "data.batch_size=64"),
    ),
    Fault("batch too large for memory", ("not enough memory",), (SIZE % (960, 1280), "data.batch_size=64")),
    Fault("warm-up of 95 %", ("warm-up too long",), ("stages.all.warmup=0.95",)),
    Fault(
        "frames nearly black",
        ("frames nearly black",),
        (),
        repaint(lambda pixels: (pixels * 0.05).astype(np.uint8)),
    ),
    Fault(
        "16-bit frames",
        ("frames not of 8 bits",),
        (),
        repaint(lambda pixels: pixels[..., 1].astype(np.uint16) * 256, suffix=".png"),
    ),
    Fault("objects below a feature cell", ("objects smaller than a feature cell",), (SIZE % (32, 32),)),
    Fault(
        "class names in another order",
        ("class names in another order",),
        ("data.names=[car,person,bicycle]",),
    ),
    Fault("validation without objects", ("no objects in validation",), BY_COLUMN, divided(lambda c: not c)),
    Fault(
        "validation of one class alone",
        ("class not in validation",),
        BY_COLUMN,
        divided(lambda c: set(c) == {"1"}),
    ),
    Fault(
        "damaged pretrained file",
        ("pretrained weights cannot be used",),
        ("model.pretrained={root}/weights.pth",),
        broken_weights,
    ),
    Fault(
        "frozen batch norm without statistics",
        ("frozen batch norm without statistics",),
        ("model.transfer.batch_norm=frozen",),
    ),
    Fault("DETR from random weights", ("no pretrained weights",), ("model=detr_tiny",)),
    Fault(
        "another light in the after frames",
        ("brightness shift",),
        (),
        repaint(lambda pixels: cv2.convertScaleAbs(pixels, alpha=1.15, beta=15), "_after"),
    ),
    Fault("truncated frames", ("unreadable frames",), (), truncated),
)


def healthy() -> Iterator[tuple[str, int]]:
    """Name and seed of data without a fault."""
    for seed in range(4):
        yield f"healthy, seed {seed}", seed
