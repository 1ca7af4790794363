"""Tables as text, so that the console and the log file show the same."""

import io

from rich.console import Console, RenderableType


def render(table: RenderableType, width: int = 110) -> str:
    """A Rich table as plain lines, after an empty one."""
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(table)
    return "\n" + "\n".join(line.rstrip() for line in stream.getvalue().splitlines())
