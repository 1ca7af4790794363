"""Names of frame pairs, made of the names of their frames."""

from pathlib import PurePosixPath

LONGEST = 200  # bytes


class PairNames:
    """Hands out names that are unique and can be used as file names."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}

    def unique(self, path: str) -> str:
        """A name like a path.

        Args:
            path: A relative or absolute path without its extension, with `/` or `\\`.

        Returns:
            The path without root, `..` and what cannot be printed, at most its last 200 bytes;
            with a number behind it when that name is taken.
        """
        parts = PurePosixPath("".join(c if c.isprintable() else "_" for c in path).replace("\\", "/")).parts
        name = "/".join(part.strip() for part in parts if part.strip() not in ("", "/", ".."))
        # A file name has at most 255 bytes. Space at the ends would be lost in pairs.csv.
        name = name.encode()[-LONGEST:].decode(errors="ignore").strip("/ ") or "pair"
        candidate = name
        while candidate in self._next:
            self._next[name] += 1
            candidate = f"{name}-{self._next[name]}"
        self._next[candidate] = 1
        return candidate
