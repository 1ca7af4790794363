"""Tables as text, so that the console and the log file show the same, and the order of names."""

import io
import re
from typing import TextIO

from rich.console import Console, RenderableType
from rich.measure import Measurement

WIDTH = 110


def render(table: RenderableType, width: int = WIDTH) -> str:
    """A Rich table as plain lines, after an empty one."""
    stream = io.StringIO()
    _console(stream, width).print(table)
    return "\n" + "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def fits(table: RenderableType, width: int = WIDTH) -> bool:
    """Whether `render` shows it without cutting words."""
    console = _console(io.StringIO(), 1000 * width)
    return Measurement.get(console, console.options, table).minimum <= width


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts numbers in names as numbers."""
    words = re.split(r"(\d+)", name)
    return [(0, int(word), "") if word.isdecimal() else (1, 0, word) for word in words if word]


def _console(file: TextIO, width: int) -> Console:
    # Names of classes and files are names, also with brackets or colons in them.
    return Console(file=file, width=width, color_system=None, markup=False, emoji=False)
