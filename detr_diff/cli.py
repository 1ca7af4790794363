"""`detr-diff <verb> [key=value ...]`. Imports nothing heavy before the verb runs."""

import os
import signal
import sys
from collections.abc import Callable, Sequence

from detr_diff import __version__
from detr_diff.errors import SettingError, UserError, nearest
from detr_diff.grammar import literal, quoted
from detr_diff.verbs import module_of

VERBS = {
    "train": "train a DETR on frame pairs, evaluate it, write runs/<run_name>/",
    "doctor": "say in minutes why such a training would fail: data, weights, stages, rates, memory, time",
    "evaluate": "metrics of a checkpoint, or of a baseline, on any labelled set",
    "predict": "boxes of what moved, in one pair or in a whole set",
    "runs": "a table of all runs: state, stage, best metric, final figures",
    "compare": "which of several runs is better, and how sure that is",
    "bench": "how many times faster this is than the transformers Trainer, on this machine",
    "data synth": "generate surveillance-like scenes as an ordinary data set",
    "data import": "make a data set from VIRAT, MOT, COCO, DeepPCB or YOLO material",
    "data export": "write a data set as COCO or YOLO",
    "data check": "diagnose a data set: everything wrong with file and line, statistics, pictures",
}
GROUPS = {
    "train": ("experiment", "model", "stages", "logger"),
    "doctor": ("experiment", "model", "stages"),
    "evaluate": ("model",),
}
# What words without = are for these verbs.
FOLDERS = {"compare": "runs"}
# A list of these settings holds settings of its own, as ours=[data.num_workers=1,compile=inductor].
SETTINGS = {"bench": "ours"}
FLAGS = ("--help", "--multirun", "--config-dir")
USAGE = "usage: detr-diff <verb> [key=value ...]"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 0 done, 1 failed, 2 wrong usage, 75 stopped by a signal."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return told(lambda: _run(words), "debug=true" in words or os.environ.get("HYDRA_FULL_ERROR") == "1")


def told(run: Callable[[], object], traceback: bool) -> int:
    """Run something and tell an error in one line; returns the exit code.

    Args:
        run: Gives an exit code, or anything else for 0.
        traceback: Let errors through.
    """
    silent = int(os.environ.get("RANK", "0")) > 0  # the first of several processes tells it
    try:
        code = run()
        return code if isinstance(code, int) else 0
    except UserError as error:
        if traceback:
            raise
        _tell(str(error), silent)
        return error.exit_code
    except BrokenPipeError:  # the reader, as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        _tell("interrupted", silent)
        return 130
    except Exception as error:
        if traceback:
            raise
        lines = str(error).strip().splitlines() or [""]
        _tell(f"{type(error).__name__}: {lines[0]}", silent)
        for note in getattr(error, "__notes__", ["debug=true shows where"]):
            _tell(note, silent)
        return 1


def _tell(message: str, silent: bool) -> None:
    if not silent:
        print(f"detr-diff: {message.lstrip()}", file=sys.stderr)


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if words else 2
    if words[0] == "--version":
        print(__version__)
        return 0
    verb, rest = _verb(words)
    if any(word in ("-h", "--help") for word in rest):
        print(_verb_help(verb, rest))
        return 0
    sweep = any(word in ("-m", "--multirun") for word in rest)
    rest = [word for word in rest if word not in ("-m", "--multirun")]
    if verb in SETTINGS:
        rest = [_quoted_items(word, SETTINGS[verb]) for word in rest]
    overrides = _overrides(_named(rest, FOLDERS[verb]) if verb in FOLDERS else rest)
    overrides = [_at_home(word) for word in overrides]

    from detr_diff.compose import compose
    from detr_diff.verbs.requirements import require

    if not sweep:
        overrides = [literal(word) for word in overrides]
    settings = compose(verb.replace(" ", "_"), overrides, sweep)
    if sweep and verb != "train":
        raise SettingError(f"--multirun: only train can sweep, not {verb}")
    require(verb, settings)
    if verb == "train":
        from detr_diff.sweep import run_jobs

        return run_jobs(settings, overrides, sweep)
    return int(module_of(verb).run(settings))


def _verb(words: list[str]) -> tuple[str, list[str]]:
    for length in (2, 1):
        verb = " ".join(words[:length])
        if verb in VERBS:
            return verb, words[length:]
    if words[0] == "data":
        if words[1:2] in (["-h"], ["--help"]):
            return "data check", ["--help"]
        allowed = ", ".join(verb for verb in VERBS if verb.startswith("data "))
        raise SettingError(f"data {' '.join(words[1:2])}: unknown verb, allowed: {allowed}")
    raise SettingError(f"{words[0]}: unknown verb, {nearest(words[0], VERBS)}")


def _named(words: list[str], key: str) -> list[str]:
    """The words that are folders as one override `key=[...]`, and the other words.

    A folder that is there is one even when its name has a =.
    """
    folders: list[str] = []
    others: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        named = word[:1] == "-" or before == "--config-dir" or ("=" in word and not os.path.isdir(word))
        (others if named else folders).append(word)
    if not folders:
        return words
    if given := next((word for word in others if word.startswith(f"{key}=")), None):
        raise SettingError(f"{given}: the folders are already given as {' '.join(folders)}")
    return [f"{key}=[{','.join(map(quoted, folders))}]", *others]


def _quoted_items(word: str, key: str) -> str:
    """`key=[a=1,b=[2,3]]` with each item of the list quoted, as Hydra knows no = inside a list."""
    if not (word.startswith(f"{key}=[") and word.endswith("]")):
        return word
    items, depth = [""], 0
    for letter in word[len(key) + 2 : -1]:
        depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and not depth:
            items.append("")
        else:
            items[-1] += letter
    return f"{key}=[{','.join(quoted(item.strip()) for item in items if item.strip())}]"


def _at_home(word: str) -> str:
    """`key=~/folder` with the folder of the user, which a shell leaves alone behind a =."""
    key, _, value = word.partition("=")
    return f"{key}={os.path.expanduser(value)}" if value == "~" or value.startswith("~/") else word


def _overrides(words: list[str]) -> list[str]:
    """`--config-dir DIR` as the override that it stands for; other flags are unknown."""
    folder, words = _config_dir(words)
    if flag := next((word for word in words if word.startswith("-")), None):
        raise SettingError(f"{flag}: unknown flag, {nearest(flag, FLAGS)}")
    return words if folder is None else [*words, f"hydra.searchpath=['file://{folder}']"]


def _config_dir(words: list[str]) -> tuple[str | None, list[str]]:
    """The folder of `--config-dir DIR` or `--config-dir=DIR`, and the other words."""
    place = next(
        (place for place, word in enumerate(words) if word.partition("=")[0] == "--config-dir"), None
    )
    if place is None:
        return None, words
    _, joined, folder = words[place].partition("=")
    after = place + 1 if joined else place + 2
    folder = folder if joined else "".join(words[place + 1 : after])
    if not os.path.isdir(folder):
        raise SettingError(f"--config-dir {folder}: no such folder")
    return os.path.abspath(folder), words[:place] + words[after:]


def _help() -> str:
    lines = [USAGE, "", "Finds the objects that moved between two frames of a fixed camera.", ""]
    lines += [f"  {verb:<12}{what}" for verb, what in VERBS.items()]
    lines += ["", "`detr-diff <verb> --help` shows the settings of a verb."]
    return "\n".join(lines)


def _verb_help(verb: str, words: list[str]) -> str:
    from detr_diff.help import verb_help

    folder, words = _config_dir(words)
    chosen = dict(word.split("=", 1) for word in words if "=" in word)
    return verb_help(verb, VERBS[verb], GROUPS.get(verb, ()), FOLDERS.get(verb), chosen, folder)


if __name__ == "__main__":
    sys.exit(main())
