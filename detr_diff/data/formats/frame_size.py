"""The size that the frames of a pair share, from the files."""

from functools import lru_cache
from pathlib import Path

from detr_diff.data.image import inspect_image, is_utf8
from detr_diff.data.problem import Problem

REMEMBERED = 10_000  # frames; those of one video are shared by neighbouring pairs


class FrameSizes:
    """Looks at each frame once, although neighbouring pairs share it."""

    def __init__(self) -> None:
        self._inspect = lru_cache(REMEMBERED)(inspect_image)

    def of(self, before: Path | None, after: Path) -> tuple[int, int] | Problem:
        """Width and height of the frames in pixels, or what is wrong with one of them."""
        sizes = []
        for path in (after,) if before is None else (before, after):
            if not is_utf8(str(path)):
                return Problem(Path(ascii(str(path))), 0, "its name is not UTF-8 text")
            size = self._inspect(path)
            if isinstance(size, str):
                return Problem(path, 0, size)
            sizes.append((size[1], size[0]))
        if sizes[0] != sizes[-1]:
            (w0, h0), (w1, h1) = sizes
            return Problem(after, 0, f"{w1}x{h1} pixels, but its before frame has {w0}x{h0}")
        return sizes[0]
