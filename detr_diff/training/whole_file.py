"""Writing a file so that it is there as a whole or not at all."""

import os
from itertools import count
from pathlib import Path

_number = count()


def write_whole(path: Path, text: str) -> None:
    """Write a text file; whoever reads it meanwhile, or after a kill, finds the old or the new one.

    Raises:
        OSError: It cannot be written; the old file is untouched.
    """
    # A name of its own for each call: a signal handler may write while the same file is written.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{next(_number)}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
