"""Many strings in one block of memory."""

from array import array
from collections.abc import Iterable, Sequence
from typing import overload


class Strings(Sequence[str]):
    """An append-only list of strings: their bytes in one buffer, and where each ends.

    A Python string costs 50 bytes more than its letters, and every look at it changes its
    reference count, so that forked workers copy it; here a million are two buffers.
    """

    def __init__(self, strings: Iterable[str] = ()) -> None:
        self._bytes = bytearray()
        self._ends = array("q", [0])
        for string in strings:
            self.append(string)

    def append(self, string: str) -> None:
        """Add a string at the end."""
        # A file name need not be valid text on Linux.
        self._bytes += string.encode("utf-8", "surrogateescape")
        self._ends.append(len(self._bytes))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> "Strings": ...

    def __getitem__(self, index: "int | slice") -> "str | Strings":
        if isinstance(index, slice):
            return Strings(self[i] for i in range(*index.indices(len(self))))
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._bytes[self._ends[index] : self._ends[index + 1]].decode("utf-8", "surrogateescape")


class Categories:
    """An append-only list of names of which there are few, or of None: a number for each."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._numbers: dict[str | None, int] = {None: -1}
        self._codes = array("i")

    def append(self, name: str | None) -> None:
        """Add a name at the end."""
        number = self._numbers.setdefault(name, len(self.names))
        if number == len(self.names):
            self.names.append(str(name))
        self._codes.append(number)

    def __len__(self) -> int:
        return len(self._codes)

    def __getitem__(self, index: int) -> str | None:
        code = self._codes[index]
        return None if code < 0 else self.names[code]
