"""What a user can mend: shown as one clear line, never as a traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """The job cannot be done as asked: bad data, a missing file, an existing run."""

    exit_code = 1


class SettingError(UserError):
    """A setting is wrong; the message names it, its value and what is allowed."""

    exit_code = 2


class NothingLearns(SettingError):
    """A stage in which no weight would change."""


class PretrainedError(SettingError):
    """Pretrained weights cannot be had, are damaged, or do not fit the model."""


def nearest(word: str, allowed: Iterable[str]) -> str:
    """The names closest to a mistyped one, as the end of an error message."""
    options = list(allowed)
    close = difflib.get_close_matches(word, options, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"allowed: {', '.join(options)}"
