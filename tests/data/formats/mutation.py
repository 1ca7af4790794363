"""Small random damage to files, as users and disks do it."""

import random
import re
from pathlib import Path

TOKENS = (b"nan", b"inf", b"-1", b"0", b"1e400", b"1_0", b"x", b"", b" ", b",", b"\t", b"\xff", b"\x00")
TOKENS += (
    b"\n",
    b"\r",
    b"9" * 30,
    b"6",
    b"#",
    b'"',
    b"../x",
    b"\xef\xbb\xbf",
    b"0x10",
    b"1.5",
    b"-0.0",
    b"1e-300",
)
_FIELD = re.compile(rb"[^ ,\r\n\t]+")


def mutate(content: bytes, seed: int) -> bytes:
    """Content with one to three changes, a function of the seed."""
    rng = random.Random(seed)
    for _ in range(rng.randint(1, 3)):
        fields = list(_FIELD.finditer(content))
        lines = content.split(b"\n")
        kind = rng.randrange(6)
        if kind == 0 and fields:  # another field
            match = rng.choice(fields)
            content = content[: match.start()] + rng.choice(TOKENS) + content[match.end() :]
        elif kind == 1 and content:  # another byte
            at = rng.randrange(len(content))
            content = content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]
        elif kind == 2:  # something put in
            at = rng.randint(0, len(content))
            content = content[:at] + rng.choice(TOKENS) + content[at:]
        elif kind == 3:  # the end is missing
            content = content[: rng.randint(0, len(content))]
        elif kind == 4:  # a line twice or not at all
            at = rng.randrange(len(lines))
            lines[at : at + 1] = [lines[at]] * rng.choice((0, 2))
            content = b"\n".join(lines)
        else:  # two lines change places
            one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
            lines[one], lines[other] = lines[other], lines[one]
            content = b"\n".join(lines)
    return content


def damage(path: Path, content: bytes, seed: int) -> bytes:
    """Write content with changes to a file; returns what was written."""
    path.unlink(missing_ok=True)  # many file systems wait for the disk when a file is overwritten
    path.write_bytes(mutated := mutate(content, seed))
    return mutated


def lines_of(content: bytes) -> list[str] | None:
    """The lines that are not blank; None when it is not UTF-8."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    return [line for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n") if line.strip()]
