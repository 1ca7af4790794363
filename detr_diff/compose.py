"""Settings from conf/ and the command line; what is wrong with them is told in one line."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from itertools import product
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
)
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException, ValidationError

from detr_diff.errors import SettingError, nearest
from detr_diff.help import CONF, choices
from detr_diff.settings import SCHEMAS

# Sections whose keys are those of a library, of which conf/ names only some.
PASSED_ON = ("model.processor.", "model.config.", "trainer.")

GLOBAL = re.compile(r"\s*#\s*@package\s+_global_\s*$", re.MULTILINE)

# What a stage may say, see training/stages.py.
OF_STAGE = ("learn", "freeze", "lr", "schedule", "cycles", "warmup", "batch_size", "augment", "patience")


def register_schemas() -> None:
    """Make the types known to Hydra; conf/<verb>.yaml names them in its defaults."""
    for verb, schema in SCHEMAS.items():
        ConfigStore.instance().store(name=f"schema_{verb}", node=schema)


def compose(verb: str, overrides: Sequence[str], sweep: bool = False) -> DictConfig:
    """The settings of a job, of a sweep those of its first job.

    Args:
        verb: Name of a file in conf/.
        overrides: `key=value`, in Hydra's grammar.
        sweep: Whether several values of a key are allowed.

    Raises:
        SettingError: An unknown name or value, or one that must be given and is not.
    """
    parsed = parse_all(overrides)
    if sweep:
        parsed = [_first_value(override) for override in parsed]
    if several := next((override for override in parsed if override.is_sweep_override()), None):
        raise SettingError(
            f"{several.input_line}: several values, which train --multirun tries one after the other; a "
            "value with a comma in it has quotes inside those of the shell"
        )
    _require_fitting(verb, parsed)
    _require_global(parsed)
    lines = [str(override.input_line) for override in parsed]
    register_schemas()
    with _hydra():
        try:
            settings = hydra.compose(verb, overrides=lines)
        except MissingConfigException as error:
            raise SettingError(_unknown_choice(verb, error)) from error
        except ConfigCompositionException as error:
            raise SettingError(_unknown_setting(verb, parsed, error)) from error
        except (HydraException, OmegaConfBaseException) as error:
            raise SettingError(str(error).splitlines()[0]) from error
    try:
        missing = sorted(OmegaConf.missing_keys(settings))
        if missing:
            raise SettingError(f"not given: {', '.join(f'{key}=...' for key in missing)}")
        OmegaConf.resolve(settings)
    except OmegaConfBaseException as error:
        raise SettingError(str(error).splitlines()[0]) from error
    _require_read(settings)
    return settings


def impossible(verb: str, overrides: Sequence[str]) -> str | None:
    """What is wrong with the first combination of a sweep that is no job; None where all are."""
    parsed = parse_all(overrides)
    if any(one.is_sweep_override() and not one.is_discrete_sweep() for one in parsed):
        return None  # the sweeper knows
    axes = [
        [f"{one.get_key_element()}={value}" for value in one.sweep_string_iterator()]
        if one.is_sweep_override()
        else [str(one.input_line)]
        for one in parsed
    ]
    for words in product(*axes):
        try:
            compose(verb, words)
        except SettingError as error:
            tried = " ".join(word for word, axis in zip(words, axes, strict=True) if len(axis) > 1)
            return str(error) if str(error).startswith(tried) else f"{tried}: {error}"
    return None


def _require_read(section: Any, prefix: str = "") -> None:
    """Refuse a key that +key=... has added where nothing would look at it."""
    if not isinstance(section, DictConfig) or section._is_none():
        return
    schema = OmegaConf.get_type(section)
    allowed = [field.name for field in fields(schema)] if is_dataclass(schema) else list(map(str, section))
    for key in map(str, section):
        if key not in allowed:
            raise SettingError(f"+{prefix}{key}: nothing reads it, {nearest(key, allowed)}")
        _require_read(section[key], f"{prefix}{key}.")


@contextmanager
def _hydra() -> Iterator[None]:
    """Hydra over conf/, also inside a job, where another one is at work."""
    running, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = running


def require_whole(group: str, section: DictConfig, name: str, more: bool) -> None:
    """Refuse a section of a file of the user that lacks what ours of that name has.

    Args:
        group: Folder of conf/.
        section: Of the settings.
        name: Of the file there.
        more: Whether it may have other keys, too.

    Raises:
        SettingError: Keys are missing, or nothing reads one.
    """
    path = CONF / group / f"{name}.yaml"
    if not path.is_file():
        return
    ours = [str(key) for key in OmegaConf.load(path)]
    for key in map(str, section):
        if key not in ours and not more:
            raise SettingError(f"{group}.{key}: nothing reads it with {group}={name}, {nearest(key, ours)}")
    if lacking := ", ".join(key for key in ours if key not in section):
        raise SettingError(
            f"{group}: lacks {lacking}; a file of your own begins with `defaults: [{name}, _self_]`"
        )


def require_paths(settings: DictConfig) -> None:
    """Refuse a checkpoint or data folder that is not there, before anything heavy is imported."""
    checkpoint = OmegaConf.select(settings, "ckpt_path")
    if checkpoint is not None and (best := Path(checkpoint) / "checkpoints/best.ckpt").is_file():
        raise SettingError(f"ckpt_path={checkpoint}: a run folder, did you mean {best}?")
    if checkpoint is not None and not Path(checkpoint).is_file():
        raise SettingError(f"ckpt_path={checkpoint}: no such file")
    root = OmegaConf.select(settings, "data.root")
    if root is not None and not Path(root).expanduser().is_dir():
        raise SettingError(f"data.root={root}: no such folder")


def plain(settings: DictConfig) -> dict[str, Any]:
    """Settings as dicts, lists and primitives."""
    container = OmegaConf.to_container(settings, resolve=True, enum_to_str=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def parse_all(overrides: Sequence[str]) -> list[Override]:
    """The overrides in Hydra's terms.

    Raises:
        SettingError: One is not of the form key=value.
    """
    return [_parse(text) for text in overrides]


def _parse(text: str) -> Override:
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException as error:
        reason = str(error).splitlines()[0]
        raise SettingError(f"{text!r} is not of the form key=value: {reason}") from error
    if not override.key_or_group:
        raise SettingError(f"{text!r} is not of the form key=value: no key")
    return override


def _first_value(override: Override) -> Override:
    if not override.is_sweep_override():
        return override
    if override.is_discrete_sweep():
        value = next(iter(override.sweep_string_iterator()))
    else:
        value = str(override.value().start)  # type: ignore[union-attr]
    return _parse(f"{override.get_key_element()}={value}")


def _require_fitting(verb: str, parsed: Sequence[Override]) -> None:
    """Refuse a file of a group that is there for another verb."""
    for override in parsed:
        group, choice = override.key_or_group, override.value()
        fitting = choices(group, verb)
        if isinstance(choice, dict) and (CONF / group).is_dir() and not override.is_delete():
            own = "+stages.<name>={epochs: ...} adds a stage, ~stages.<name> takes one out"
            own = own if group == "stages" else f"a setting in it is {group}.<name>=..."
            raise SettingError(
                f"{override.input_line}: {group} takes the name of a file, {nearest('', fitting)}; {own}"
            )
        if (CONF / group / f"{choice}.yaml").is_file() and choice not in fitting:
            raise SettingError(f"{group}={choice}: not for {verb}, {nearest(str(choice), fitting)}")


def _require_global(parsed: Sequence[Override]) -> None:
    """Refuse an experiment of the user that Hydra would put into a section `experiment`."""
    chosen = [str(one.value()) for one in parsed if one.key_or_group == "experiment"]
    paths = [one.value() for one in parsed if one.key_or_group == "hydra.searchpath"]
    for folder in (
        str(path).removeprefix("file://") for own in paths if isinstance(own, list) for path in own
    ):
        for name in chosen:
            file = Path(folder) / f"experiment/{name}.yaml"
            if file.is_file() and not GLOBAL.match(file.read_text(encoding="utf-8", errors="replace")):
                raise SettingError(
                    f"{file}: its first line must be `# @package _global_`, or it is of one section alone"
                )


def _unknown_choice(verb: str, error: MissingConfigException) -> str:
    group, _, choice = str(error.missing_cfg_file).rpartition("/")
    options = choices(group, verb) if (CONF / group).is_dir() else [str(o) for o in error.options or ()]
    return f"{group}={choice}: unknown, {nearest(choice, options)}"


def _unknown_setting(verb: str, parsed: Sequence[Override], error: Exception) -> str:
    cause = error.__cause__
    if isinstance(cause, ValidationError):
        key = getattr(cause, "full_key", None) or ""
        value = next((str(o.input_line) for o in parsed if o.key_or_group == key), str(key))
        return f"{value}: {str(cause).splitlines()[0]}"
    known = list(_known(verb, parsed))
    groups = [path.name for path in CONF.iterdir() if path.is_dir()]
    for override in parsed:
        key = override.key_or_group
        if key in known or key in groups or override.is_add():
            continue
        section, _, last = key.rpartition(".")
        stages = [*known, *(other.key_or_group for other in parsed)]
        if section.startswith("stages.") and section in stages and last in OF_STAGE:
            return f"{override.input_line}: the stage does not say it yet; +{override.input_line} adds it"
        adding = f" +{key}=... passes it on to a library" if key.startswith(PASSED_ON) else ""
        if section == "stages":
            adding = f" +{key}={{epochs: ..., learn: ...}} adds a stage"
        return f"{key}: unknown setting, {_nearest_key(key, [*dict.fromkeys([*known, *groups])])}{adding}"
    for override in parsed:
        if isinstance(override.value(), dict) and not override.is_add():
            key = override.key_or_group
            return (
                f"{override.input_line}: has other keys than {key}, whose own would stay; "
                f"~{key} +{override.input_line} replaces the whole"
            )
    return str(error).splitlines()[0]


def _known(verb: str, parsed: Sequence[Override]) -> Iterator[str]:
    """Every key that there is with the chosen group files."""
    kept = [o for o in parsed if (CONF / o.key_or_group).is_dir() or o.key_or_group == "hydra.searchpath"]
    groups = [override.input_line for override in kept]
    settings = hydra.compose(verb, overrides=[str(line) for line in groups])

    def walk(node: Any, prefix: str) -> Iterator[str]:
        if isinstance(node, DictConfig) and not node._is_missing() and not node._is_none():
            for key in map(str, node):
                yield f"{prefix}{key}"
                yield from walk(node._get_node(key), f"{prefix}{key}.")

    yield from walk(settings, "")


def _nearest_key(key: str, known: list[str]) -> str:
    """Near names; the last part alone is enough, as people forget the section."""
    last = key.rpartition(".")[2]
    ends = [name for name in known if name.rpartition(".")[2] == last]
    if ends:
        return f"did you mean {' or '.join(ends[:3])}?"
    section = [name for name in known if name.rpartition(".")[0] == key.rpartition(".")[0]]
    return nearest(key, section or [name for name in known if "." not in name])
