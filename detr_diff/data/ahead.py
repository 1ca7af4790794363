"""Work that threads begin ahead of where its results are taken, in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from detr_diff.data.loading import cores

Item = TypeVar("Item")
Begun = TypeVar("Begun")


@contextmanager
def threads() -> Iterator[ThreadPoolExecutor]:
    """A thread for each core; what has not begun when an error ends the block is not done."""
    with ThreadPoolExecutor(cores()) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


def ahead(items: Iterable[Item], begin: Callable[[Item], Begun]) -> Iterator[tuple[Item, Begun]]:
    """Hand items on in order, each with the work that was begun for it.

    Two items for each core are under way; so a million items take no more memory than few.

    Args:
        items: What is worked on.
        begin: Begins the work on an item, as `submit` of a pool of threads does.
    """
    waiting: deque[tuple[Item, Begun]] = deque()
    for item in items:
        waiting.append((item, begin(item)))
        if len(waiting) > 2 * cores():
            yield waiting.popleft()
    yield from waiting
