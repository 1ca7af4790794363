"""The integrity report: everything wrong with a data set, before any training."""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from detr_diff.choices import OnError
from detr_diff.data.ahead import ahead, threads
from detr_diff.data.discovery import Discovery
from detr_diff.data.frame_pair import FramePair
from detr_diff.data.image import digest, inspect_image
from detr_diff.data.labelled_pairs import LabelColumns, LabelledPairs
from detr_diff.data.labels import NO_LABELS, Labels, read_labels
from detr_diff.data.problem import Problem
from detr_diff.data.progress import progress
from detr_diff.errors import UserError

log = logging.getLogger(__name__)

REMEMBERED = 10_000  # frames; those of one video are shared by neighbouring pairs


class DataError(UserError):
    """The data has problems; the message lists every one with file and line."""


@dataclass(frozen=True)
class CheckReport:
    """The pairs that can be used and all problems of those that cannot."""

    pairs: LabelledPairs
    problems: list[Problem]
    left_out: int

    def accept(self, root: str | Path, on_error: OnError) -> LabelledPairs:
        """The pairs that can be used, if that is enough.

        Args:
            root: Where they come from, for the messages.
            on_error: refuse, or skip the pairs that have problems.

        Raises:
            DataError: There are problems and they are to be refused, or no pair is usable.
        """
        if self.problems:
            lines = "\n".join(f"  {problem}" for problem in self.problems)
            count = f"{len(self.problems)} problem{'s' if len(self.problems) != 1 else ''} in {root}"
            if on_error is OnError.refuse:
                number = f"{self.left_out} pair{'s' if self.left_out != 1 else ''}"
                skip = f", or leave {number} out with data.on_error=skip" if self.pairs else ""
                raise DataError(f"{lines}\n{count}; mend them{skip}")
            log.warning("%s\n%s; pairs left out: %d", lines, count, self.left_out)
        if not self.pairs:
            raise DataError(f"no usable frame pair in {root}")
        return self.pairs


def check(
    found: Discovery,
    names: Sequence[str],
    *,
    max_objects: int | None = None,
    needs_frames: bool = False,
    contents: bool = False,
) -> CheckReport:
    """Check every label line and every frame.

    Args:
        found: The pairs and the problems of the discovery.
        names: Class names.
        max_objects: Number of object queries; an image with more objects cannot be learnt.
        needs_frames: Whether ready diff images are of no use, because the diff keeps the frames.
        contents: Whether to take a digest of the frames, which a cache needs.

    Returns:
        The usable pairs in the order found, and the problems in that order too.
    """
    problems = list(found.problems)
    spoilt = {problem.pair for problem in problems if problem.pair}
    columns = LabelColumns(found.pairs)
    with threads() as pool:
        inspect = lru_cache(REMEMBERED)(lambda path: pool.submit(inspect_image, path))
        content_of = lru_cache(REMEMBERED)(lambda path: pool.submit(digest, path))

        def begin(pair: FramePair) -> tuple[list[Future[tuple[int, int] | str]], list[Future[bytes]]]:
            return [*map(inspect, pair.frames)], [*map(content_of, pair.frames)] if contents else []

        shown = progress(found.pairs, "checking the data", len(found.pairs))
        for pair, (inspected, digests) in ahead(shown, begin):
            labels, new = _labels(pair, names, max_objects)
            size, of_frames = _frames(pair, [future.result() for future in inspected], needs_frames)
            new += of_frames
            problems += [replace(problem, pair=pair.name) for problem in new]
            if new or pair.name in spoilt:
                columns.skip()
            else:
                hashed = content(future.result() for future in digests) if contents else 0
                columns.append(labels, size, hashed)
    left_out = len({problem.pair or str(problem) for problem in problems})
    return CheckReport(columns.finish(), problems, left_out)


def content(digests: Iterable[bytes]) -> int:
    """The contents of a pair as a number of 64 bits.

    Args:
        digests: Of its frames.
    """
    return int.from_bytes(hashlib.sha256(b"".join(digests)).digest()[:8], "big", signed=True)


def _frames(
    pair: FramePair, inspected: Sequence[tuple[int, int] | str], needs_frames: bool
) -> tuple[tuple[int, int], list[Problem]]:
    """(height, width) of the frames, and what is wrong with them."""
    problems = [
        Problem(path, 0, found)
        for path, found in zip(pair.frames, inspected, strict=True)
        if isinstance(found, str)
    ]
    sizes = [found for found in inspected if not isinstance(found, str)]
    if len(sizes) == 2 and sizes[0] != sizes[1]:
        (h0, w0), (h1, w1) = sizes
        problems.append(Problem(pair.after, 0, f"{w1}x{h1} pixels, but its before frame has {w0}x{h0}"))
    if needs_frames and pair.before is None:
        message = "a ready diff image, but the model needs both frames; with data.diff=abs it would not"
        problems.append(Problem(pair.after, 0, message))
    return sizes[0] if sizes else (0, 0), problems


def _labels(pair: FramePair, names: Sequence[str], max_objects: int | None) -> tuple[Labels, list[Problem]]:
    path: Path | None = pair.label
    if path is None:
        return NO_LABELS, []
    if not path.is_file():
        return NO_LABELS, [Problem(path, 0, f"label file of pair {pair.name} is missing")]
    labels, problems = read_labels(path, names)
    if max_objects is not None and len(labels) > max_objects:
        message = f"{len(labels)} objects, but the model has {max_objects} queries"
        problems.append(Problem(path, 0, message))
    return labels, problems
