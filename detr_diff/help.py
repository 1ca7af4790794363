"""The help of a verb, made from the comments in conf/, so that it cannot lag behind."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from detr_diff.errors import SettingError, nearest

PACKAGE = Path(__file__).parent
# In a wheel conf/ is inside the package, in a checkout beside it.
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
NONE = "null"  # no file of a group
OVERRIDE = "override /"


def verb_help(
    verb: str,
    what: str,
    groups: tuple[str, ...],
    folders: str | None = None,
    chosen: Mapping[str, str] | None = None,
    own: str | None = None,
) -> str:
    """Usage, the choices of each group and every setting with its default and meaning.

    Args:
        verb: Of the command.
        what: It does.
        groups: Of conf/ that it chooses from.
        folders: The setting that words without = are the value of.
        chosen: Group to the choice whose settings are shown, not those of the default; of several,
            as a multirun has them, the first.
        own: A folder of the user's own conf files.

    Raises:
        SettingError: There is no such choice.
    """
    roots = [CONF] if own is None else [CONF, Path(own)]
    shown = {group: choice.partition(",")[0] for group, choice in (chosen or {}).items() if group in groups}
    for group, choice in shown.items():
        known = choices(group, verb, roots)
        if choice not in known and choice != NONE:
            raise SettingError(f"{group}={choice}: unknown, {nearest(choice, known)}")
    if (experiment := shown.get("experiment", NONE)) != NONE:
        # It chooses from other groups, too; the command line goes before.
        others = _defaults(_read(roots, "experiment", experiment))
        shown = {group.removeprefix(OVERRIDE): choice for group, choice in others} | shown
    flags = " [--multirun]" if verb == "train" else ""
    words = " FOLDER FOLDER ..." if folders else ""
    lines = [f"usage: detr-diff {verb}{words} [key=value ...]{flags} [--config-dir DIR]", "", what, ""]
    for group in groups:
        lines.append(f"{group}=")
        explained = choices(group, verb, roots)
        width = max(16, 2 + max(map(len, explained)))
        lines += [f"  {name:<{width}}{text}" for name, text in explained.items()]
        lines.append("")
    lines += _explained(CONF / f"{verb.replace(' ', '_')}.yaml", groups, shown, roots)
    if groups:
        example = f"{groups[-1]}={next(iter(choices(groups[-1], verb, roots)))}"
        lines += [
            "",
            f"`detr-diff {verb} {example} --help` shows the settings of what is chosen.",
            f"With --config-dir DIR, DIR/{groups[-1]}/mine.yaml is {groups[-1]}=mine.",
        ]
    return "\n".join(lines)


def _explained(
    main: Path, groups: tuple[str, ...], chosen: Mapping[str, str], roots: Sequence[Path]
) -> list[str]:
    """The settings of a main file, and those of the files that its defaults name."""
    text = main.read_text(encoding="utf-8")
    lines = _settings(text)
    for group, default in _defaults(text):
        if not group:  # another verb, whose settings this one has too
            other = _explained(CONF / f"{default}.yaml", groups, chosen, roots)
            lines += ["", f"# and those of {default}:", *other]
            continue
        # `transfer@model.transfer` is the group transfer, put where the section model.transfer is.
        group, _, section = group.partition("@")
        choice = chosen.get(group, default)
        if choice == NONE:
            continue
        lines += ["", f"{group}:   # {group}={choice}" if group in groups else f"{section or group}:"]
        body = _read(roots, group, choice)
        lines += [f"  # {line}" for line in _head(body)]
        for other_group, parent in _defaults(body):
            if not other_group:
                lines += [f"  {line}" for line in _settings(_read(roots, group, parent))]
        lines += [f"  {line}" for line in _settings(body)]
    return lines


def choices(group: str, verb: str, roots: Sequence[Path] = (CONF,)) -> dict[str, str]:
    """The files of a group that a verb can use and what each is, from its first comment.

    Of the models, evaluate takes the baselines and all others the networks.
    """
    found = {}
    for path in sorted(path for root in roots for path in (root / group).glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        baseline = any(line.startswith("baseline:") for line in text.splitlines())
        if group == "model" and baseline != (verb == "evaluate"):
            continue
        found[path.stem] = next(iter(_head(text)), "")
    return found


def _read(roots: Sequence[Path], group: str, choice: str) -> str:
    # Hydra looks in the user's folder last.
    path = next(path for root in roots if (path := root / group / f"{choice}.yaml").is_file())
    return path.read_text(encoding="utf-8")


def _head(text: str) -> list[str]:
    """The comment that a conf file begins with."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    return [line[2:] for line in lines if "@package" not in line]


def _settings(text: str) -> list[str]:
    """The lines of a conf file without its head comment, defaults and Hydra's own section."""
    lines: list[str] = []
    section = ""
    for line in text.splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            section = line.partition(":")[0]
        if section in ("defaults", "hydra") or (line.startswith("#") and not section):
            continue
        lines.append(line)
    return "\n".join(lines).strip("\n").splitlines()


def _defaults(text: str) -> list[tuple[str, str]]:
    """(group, file) of the defaults list; a plain file of the same group as ("", file)."""
    found = []
    inside = False
    for line in text.splitlines():
        if line == "defaults:":
            inside = True
        elif inside and line.startswith("  - "):
            group, _, chosen = line[4:].rpartition(":")
            chosen = chosen.strip()
            if chosen != "_self_" and not chosen.startswith("schema_"):
                found.append((group.strip(), chosen))
        elif line and not line.startswith(" "):
            inside = False
    return found
