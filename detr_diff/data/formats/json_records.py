"""The lists of a JSON object, each element with its line, which Python's json does not tell."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as short
from typing import Any

from detr_diff.data.problem import Problem
from detr_diff.data.progress import progress

_SPACE = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True)
class Record:
    """An element of a list.

    Attributes:
        line: Where it begins, from 1.
        value: What it holds.
        twice: Names that one of its objects gives twice; JSON leaves open which one counts.
    """

    line: int
    value: Any
    twice: tuple[str, ...]


def read_lists(path: Path) -> tuple[dict[str, list[Record]], list[Problem]]:
    """Read the lists that a JSON file (RFC 8259) has at its top level.

    Returns:
        The elements of each list by the list's name; other values are left out. Nothing but a
        problem when the file cannot be read as a JSON object.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        return {}, [Problem(path, 0, f"cannot be read: {error.strerror}")]
    except UnicodeDecodeError as error:
        return {}, [Problem(path, error.object[: error.start].count(b"\n") + 1, "not UTF-8 text")]
    reader = _Reader(text)
    lists: dict[str, list[Record]] = {}
    try:
        for name, record in progress(reader.sections(), f"reading {path.name}"):
            elements = lists.setdefault(name, [])
            if record is not None:
                elements.append(record)
    except json.JSONDecodeError as error:
        return {}, [Problem(path, error.lineno, f"not readable as JSON: {error.msg}")]
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, a list in a list in ...
        return {}, [Problem(path, reader.line, f"not readable as JSON: {error}")]
    return lists, []


class _Reader:
    """A walk over the top two levels of a JSON text; `json` decodes what lies below.

    Attributes:
        line: The line that is reached.
    """

    def __init__(self, text: str) -> None:
        self.line = 1
        self._text, self._at = text, 0
        self._twice: list[str] = []
        self._decode = json.JSONDecoder(object_pairs_hook=self._object).raw_decode

    def sections(self) -> Iterator[tuple[str, Record | None]]:
        """(list, element) for every element of every list, and first (list, None)."""
        names = set()
        for _ in self._parts("{", "}"):
            name = self._value()
            if not isinstance(name, str):
                raise json.JSONDecodeError("a name in double quotes expected", self._text, self._at)
            if name in names:
                raise json.JSONDecodeError(f"{short(name)} is given twice", self._text, self._at)
            names.add(name)
            self._take(":")
            if self._peek() != "[":
                self._value()
                continue
            yield name, None
            for line in self._parts("[", "]"):
                self._twice = []
                value = self._value()
                yield name, Record(line, value, tuple(self._twice))
        if self._peek():
            raise json.JSONDecodeError("text after the end", self._text, self._at)

    def _parts(self, opening: str, closing: str) -> Iterator[int]:
        """Go from part to part of an object or a list; the line of each."""
        self._take(opening)
        if self._peek() == closing:
            self._take(closing)
            return
        while True:
            self._peek()
            yield self.line
            if self._peek() == closing:
                self._take(closing)
                return
            self._take(",")

    def _peek(self) -> str:
        """The next character that is not space; empty at the end."""
        match = _SPACE.match(self._text, self._at)
        assert match is not None
        self._move(match.end())
        return self._text[self._at : self._at + 1]

    def _take(self, character: str) -> None:
        if self._peek() != character:
            raise json.JSONDecodeError(f"{character!r} expected", self._text, self._at)
        self._move(self._at + 1)

    def _value(self) -> Any:
        value, end = self._decode(self._text, self._at)
        self._move(end)
        return value

    def _move(self, to: int) -> None:
        self.line += self._text.count("\n", self._at, to)
        self._at = to

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            self._twice += [name for name, count in counts.items() if count > 1]
        return content
