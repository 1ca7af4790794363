"""The help of a verb, made from the comments in conf/, so that it cannot lag behind."""

from pathlib import Path

PACKAGE = Path(__file__).parent
# In a wheel conf/ is inside the package, in a checkout beside it.
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"


def verb_help(verb: str, what: str, groups: tuple[str, ...], folders: str | None = None) -> str:
    """Usage, the choices of each group and every setting with its default and meaning.

    Args:
        verb: Of the command.
        what: It does.
        groups: Of conf/ that it chooses from.
        folders: The setting that words without = are the value of.
    """
    flags = " [--multirun]" if verb == "train" else ""
    words = " FOLDER FOLDER ..." if folders else ""
    lines = [f"usage: detr-diff {verb}{words} [key=value ...]{flags} [--config-dir DIR]", "", what, ""]
    for group in groups:
        lines.append(f"{group}=")
        explained = choices(group, verb)
        width = max(16, 2 + max(map(len, explained)))
        lines += [f"  {name:<{width}}{text}" for name, text in explained.items()]
        lines.append("")
    lines += _explained(CONF / f"{verb.replace(' ', '_')}.yaml", groups)
    return "\n".join(lines)


def _explained(main: Path, groups: tuple[str, ...]) -> list[str]:
    """The settings of a main file, and those of the files that its defaults name."""
    text = main.read_text(encoding="utf-8")
    lines = _settings(text)
    for group, chosen in _defaults(text):
        if not group:  # another verb, whose settings this one has too
            lines += ["", f"# and those of {chosen}:", *_explained(CONF / f"{chosen}.yaml", groups)]
            continue
        # `transfer@model.transfer` is the group transfer, put where the section model.transfer is.
        group, _, section = group.partition("@")
        lines += ["", f"{group}:   # {group}={chosen}" if group in groups else f"{section or group}:"]
        body = (CONF / group / f"{chosen}.yaml").read_text(encoding="utf-8")
        for _, parent in _defaults(body):
            inherited = (CONF / group / f"{parent}.yaml").read_text(encoding="utf-8")
            lines += [f"  {line}" for line in _settings(inherited)]
        lines += [f"  {line}" for line in _settings(body)]
    return lines


def choices(group: str, verb: str) -> dict[str, str]:
    """The files of a group in conf/ that a verb can use and what each is, from its first comment.

    Of the models, evaluate takes the baselines and all others the networks.
    """
    found = {}
    for path in sorted((CONF / group).glob("*.yaml")):
        lines = path.read_text(encoding="utf-8").splitlines()
        baseline = any(line.startswith("baseline:") for line in lines)
        if group == "model" and baseline != (verb == "evaluate"):
            continue
        comments = [line[2:] for line in lines if line.startswith("# ") and "@package" not in line]
        found[path.stem] = comments[0] if comments else ""
    return found


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
            if chosen not in ("null", "_self_") and not chosen.startswith("schema_"):
                found.append((group.strip(), chosen))
        elif line and not line.startswith(" "):
            inside = False
    return found
