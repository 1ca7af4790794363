"""Whether the class names are in the order that the class numbers mean."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from detr_diff.data.finding import Finding, Level

LISTS = ("classes.txt", "labels/classes.txt", "obj.names")  # of labelling tools: a name a line
MAPS = ("dataset.yaml", "data.yaml")  # ours, and that of Ultralytics: names as a list or a map


def said_names(root: Path) -> dict[str, list[str]]:
    """File to class names in the order of their numbers, for each file that says them."""
    found = {}
    for name in LISTS:
        if (root / name).is_file():
            lines = (root / name).read_text(encoding="utf-8-sig", errors="replace").splitlines()
            found[name] = [line.strip() for line in lines if line.strip()]
    for name in MAPS:
        if (root / name).is_file():
            try:
                content = yaml.load(
                    (root / name).read_text(encoding="utf-8-sig", errors="replace"), Loader=yaml.BaseLoader
                )
            except yaml.YAMLError:
                continue
            names = content.get("names") if isinstance(content, dict) else None
            if isinstance(names, dict):
                names = [names[key] for key in sorted(names, key=lambda key: (len(str(key)), str(key)))]
            if isinstance(names, list):
                found[name] = [str(own) for own in names]
    return found


def diagnose_names(names: Sequence[str], said: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """A finding for each file that says other class names.

    Args:
        names: Those that are used.
        said: See `said_names`.
    """
    for file, others in said.items():
        if list(others) == list(names):
            continue
        same = sorted(others) == sorted(names)
        yield Finding(
            Level.problem if same else Level.suspicious,
            "class names in another order" if same else "other class names",
            f"{file} has {', '.join(others)}; used are {', '.join(names)}",
            "objects of one class are learnt under the name of another",
            "see which of the two the class numbers mean; leave data.names out to use dataset.yaml, or mend "
            f"{file}",
        )
