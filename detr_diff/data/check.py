"""The integrity report: everything wrong with a data set, before any training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track

from detr_diff.data.frame_pair import Discovery, FramePair
from detr_diff.data.image import inspect_image
from detr_diff.data.labels import NO_LABELS, Labels, read_labels
from detr_diff.data.problem import Problem


@dataclass(frozen=True)
class LabelledPair:
    """A frame pair that passed the check, with its objects and its size in pixels."""

    pair: FramePair
    labels: Labels
    height: int
    width: int


@dataclass(frozen=True)
class CheckReport:
    """The pairs that can be used and all problems of those that cannot."""

    pairs: list[LabelledPair]
    problems: list[Problem]
    left_out: int


def check(
    found: Discovery,
    names: Sequence[str],
    *,
    max_objects: int | None = None,
    needs_frames: bool = False,
) -> CheckReport:
    """Check every label line and every frame.

    Args:
        found: The pairs and the problems of the discovery.
        names: Class names.
        max_objects: Number of object queries; an image with more objects cannot be learnt.
        needs_frames: Whether ready diff images are of no use, because the diff keeps the frames.

    Returns:
        The usable pairs in the order found, and the problems in that order too.
    """
    problems = list(found.problems)
    spoilt = {problem.pair for problem in problems if problem.pair}
    images: dict[Path, tuple[int, int] | str] = {}
    usable = []
    console = Console(stderr=True)
    for pair in track(
        found.pairs, "checking the data", console=console, transient=True, disable=not console.is_terminal
    ):
        labels = NO_LABELS
        new: list[Problem] = []
        if pair.label is not None:
            if pair.label.is_file():
                labels, new = read_labels(pair.label, names)
            else:
                new = [Problem(pair.label, 0, f"label file of pair {pair.name} is missing")]
            if max_objects is not None and len(labels) > max_objects:
                message = f"{len(labels)} objects, but the model has {max_objects} queries"
                new.append(Problem(pair.label, 0, message))
        frames = [pair.after] if pair.before is None else [pair.before, pair.after]
        sizes = []
        for path in frames:
            if path not in images:
                images[path] = inspect_image(path)
            size = images[path]
            if isinstance(size, str):
                new.append(Problem(path, 0, size))
            else:
                sizes.append(size)
        if len(sizes) == 2 and sizes[0] != sizes[1]:
            (h0, w0), (h1, w1) = sizes
            message = f"{w1}x{h1} pixels, but its before frame has {w0}x{h0}"
            new.append(Problem(pair.after, 0, message))
        if needs_frames and pair.before is None:
            message = "a ready diff image, but this diff needs both frames; use data.diff=abs"
            new.append(Problem(pair.after, 0, message))
        problems += [Problem(p.path, p.line, p.message, pair.name) for p in new]
        if not new and pair.name not in spoilt:
            usable.append(LabelledPair(pair, labels, *sizes[0]))
    left_out = len({problem.pair or str(problem) for problem in problems})
    return CheckReport(usable, problems, left_out)
