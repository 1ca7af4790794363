"""`dataset.yaml`: what a data folder says about itself."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from detr_diff.choices import Places
from detr_diff.errors import SettingError


@dataclass(frozen=True)
class Description:
    """What `dataset.yaml` says.

    Attributes:
        names: Class names in order; empty when there is no dataset.yaml.
        places: Which places the labels name (`labels:`); None when it does not say.
    """

    names: list[str] = field(default_factory=list)
    places: Places | None = None


def read_description(root: Path) -> Description:
    """Read `dataset.yaml`: `names:`, a list or a map from index to name, and `labels:`.

    Raises:
        SettingError: The file has no usable names, or an unknown word at `labels:`.
    """
    path = root / "dataset.yaml"
    if not path.exists():
        return Description()
    try:
        # As text: a class may be called no, or 1.
        content = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingError(f"{path}: not readable as YAML: {str(error).splitlines()[0]}") from error
    content = content if isinstance(content, dict) else {}
    names = content.get("names")
    if isinstance(names, dict) and set(names) == {str(index) for index in range(len(names))}:
        names = [names[str(index)] for index in range(len(names))]
    if not isinstance(names, list) or not names or not _are_names(names):
        raise SettingError(f"{path}: names must be a list of different class names, got {names!r}")
    places = content.get("labels")
    if places is not None and places not in list(Places):
        raise SettingError(f"{path}: labels: {places!r} is unknown, allowed: {', '.join(Places)}")
    return Description(names, None if places is None else Places(places))


def class_names(root: Path, given: Sequence[str] | None) -> list[str]:
    """The class names that are given, else those of `dataset.yaml`.

    Raises:
        SettingError: There are none, or two are the same.
    """
    names = list(given or read_description(root).names)
    if not names:
        raise SettingError(f"no class names: {root} has no dataset.yaml; give data.names=[person,car]")
    if not _are_names(names):
        raise SettingError(f"data.names={names}: different class names expected")
    return names


def _are_names(names: Sequence[object]) -> bool:
    return len(set(map(str, names))) == len(names) and all(isinstance(name, str) and name for name in names)


def write_description(root: Path, names: Sequence[str], places: Places | None) -> None:
    """Write `dataset.yaml`."""
    content: dict[str, object] = {"names": dict(enumerate(names))}
    if places is not None:
        content["labels"] = str(places)
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    (root / "dataset.yaml").write_text(text, encoding="utf-8")
