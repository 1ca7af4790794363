"""A progress bar on a terminal, silence elsewhere."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def progress(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Hand the items on and show how far it is.

    Args:
        items: What is worked on.
        what: What the work is, in a few words.
        total: How many there are, when `items` does not tell.
    """
    console = Console(stderr=True)
    # Rich would start a thread even for a bar that is not shown.
    shown = track(items, what, total=total, console=console, transient=True) if console.is_terminal else items
    return iter(shown)
