"""A problem in somebody's data, with the place where it can be mended."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong with one file.

    Attributes:
        path: The file to mend.
        line: Its line, from 1; 0 when the whole file is meant.
        message: What is wrong, the value found and what is allowed.
        pair: Name of the frame pair that it spoils, empty when it spoils none.
    """

    path: Path
    line: int
    message: str
    pair: str = ""

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else f"{self.path}"
        return f"{place}: {self.message}"
