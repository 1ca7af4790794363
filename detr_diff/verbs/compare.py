"""`detr-diff compare`: several runs on the pairs that all of them were evaluated on."""

import csv
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.table import Table
from yaml import YAMLError

from detr_diff.data.new_folder import new_folder, require_new
from detr_diff.errors import SettingError, UserError
from detr_diff.evaluation.bootstrap import Interval
from detr_diff.evaluation.contender import RECORD, Contender, read_contender
from detr_diff.evaluation.contest import JUDGED, Contest, p_text
from detr_diff.evaluation.contest_figure import CURVES, draw_contest
from detr_diff.evaluation.contest_page import contest_page
from detr_diff.text import natural, render
from detr_diff.training.metrics_file import read_curves
from detr_diff.training.run_folder import CONFIG, EVALUATIONS

OWN = ("run_name", "runs", "out")  # settings that only say where a run is
CURVES_FILE = "metrics.csv"
WIDTH = 160  # of the tables


def run(settings: DictConfig) -> int:
    """Compare, print the tables, write compare.html, compare.png and compare.csv."""
    given = [Path(folder).expanduser() for folder in settings.runs]
    folders, notes = find_contenders(given)
    names = _names(folders)
    out = Path(settings.out).expanduser() if settings.out else _out(folders, names)
    require_new(out)
    runs = []
    for folder, name in zip(folders, names, strict=True):
        run, unknown = _with_run(read_contender(folder, name))
        runs.append(run)
        notes += unknown
    contest = Contest.of(runs, settings.bootstrap, settings.seed)
    common = len(contest.contenders[0].pairs)
    if any(len(one.pairs) != common for one in runs):
        counts = ", ".join(f"{one.name} has {len(one.pairs)}" for one in runs)
        notes.append(f"Different pairs: {counts}. They are compared on the {common} common ones.")
    notes += _known_pairs(contest.contenders)
    if too_few := contest.units.too_few:
        notes.append(f"There are no intervals, and nothing is proved: {too_few}.")
    differing = differing_settings([one.settings for one in runs])
    for table in (_settings(differing, names), _figures(contest), _differences(contest)):
        print(render(table, WIDTH))
    for note in notes:
        print(note)
    for number in range(1, len(runs)):
        print("\n" + "\n".join(contest.sentence(number, key) for key in JUDGED))
    with new_folder(out) as unfinished:
        page = contest_page(contest, differing, notes)
        (unfinished / "compare.html").write_text(page, encoding="utf-8")
        draw_contest(unfinished / "compare.png", contest)
        _write_csv(unfinished / "compare.csv", contest, differing)
    print(f"written to {out}")
    return 0


def _known_pairs(runs: Sequence[Contender]) -> list[str]:
    """Why the figures of runs may be better than they will be on new pairs.

    Args:
        runs: On the pairs on which they are compared.
    """
    number = len(runs[0].pairs)
    notes = []
    for run in runs:
        if learnt := run.parts.count("train"):
            notes.append(f"{run.name} has learnt {learnt} of these {number} pairs.")
        if chosen := run.parts.count("val"):
            notes.append(f"The checkpoint of {run.name} was chosen by {chosen} of these {number} pairs.")
    if unknown := ", ".join(run.name for run in runs if None in run.parts):
        notes.append(f"Of {unknown} it is not known which of these pairs were learnt.")
    return notes


def find_contenders(given: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The folders with predictions; of one without them those right below it, as of a multirun.

    Returns:
        At least two folders, and what is to be said of those left out.
    """
    found: list[Path] = []
    notes = []
    for folder in given:
        if (folder / RECORD).is_file():
            found.append(folder)
            continue
        # A name with a dot is of something that was killed.
        below = [path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."]
        below.sort(key=lambda path: natural(path.name))
        own = [path for path in below if (path / RECORD).is_file()]
        if not own:
            raise UserError(f"{folder}: no {RECORD}, {_remedy(folder)}")
        found += own
        left = [path.name for path in below if path.name.isdigit() and path not in own]
        if left:
            notes.append(f"{folder}: without {RECORD} and left out: {', '.join(left)}")
    seen: dict[Path, Path] = {}
    for folder in found:
        if (other := seen.setdefault(folder.resolve(), folder)) is not folder:
            raise SettingError(f"{other} is given twice")
    if len(found) < 2:
        raise SettingError(f"{found[0]}: at least two runs are needed")
    return found, notes


def _remedy(folder: Path) -> str:
    evaluations = sorted(folder.glob(f"{EVALUATIONS}/[!.]*/{RECORD}"))
    if evaluations:
        return f"but {evaluations[0].parent} has one"
    best = folder / "checkpoints" / "best.ckpt"
    if best.is_file():
        return f"which detr-diff evaluate ckpt_path={best} split=test writes"
    return "so it is no finished run and no folder of detr-diff evaluate"


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders, seen from the folder that holds all of them."""
    parent = os.path.commonpath([os.path.abspath(folder.parent) for folder in folders])
    return [os.path.relpath(os.path.abspath(folder), parent) for folder in folders]


def _out(folders: Sequence[Path], names: Sequence[str]) -> Path:
    parent = os.path.commonpath([os.path.abspath(folder.parent) for folder in folders])
    shown = [re.sub(r"[^\w.-]", "_", name) for name in names]
    name = "-vs-".join(shown) if len(shown) <= 3 else f"{shown[0]}-vs-{len(shown) - 1}-others"
    return Path(os.path.relpath(parent)) / "compare" / name


def _with_run(contender: Contender) -> tuple[Contender, list[str]]:
    """With settings and curves of the run that was evaluated, and what is to be said without them."""
    folder, facts = contender.folder, contender.facts
    home = next((place for place in _homes(contender) if (place / CONFIG).is_file()), None)
    settings: dict[str, str] = {}
    curves = {}
    try:
        if home is not None:
            settings |= flat(OmegaConf.to_container(OmegaConf.load(home / CONFIG)))
            # A baseline has learnt nothing, wherever its data settings come from.
            if (home / CURVES_FILE).is_file() and not facts.get("model"):
                curves = read_curves(home / CURVES_FILE, list(CURVES))
    except (OSError, ValueError, KeyError, YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{home}: settings or curves are not readable ({error})") from error
    if home != folder:
        own = {key: facts[key] for key in ("data", "split", "checkpoint", "model") if facts.get(key)}
        own |= facts.get("settings", {})
        settings |= {f"evaluate.{key}": value for key, value in flat(own).items()}
    notes = []
    if home is None and (checkpoint := facts.get("checkpoint")):
        notes.append(
            f"With which settings {contender.name} was trained is not known: no run at {checkpoint}."
        )
    return replace(contender, settings=settings, curves=curves), notes


def _homes(contender: Contender) -> list[Path]:
    """Where the run that was evaluated may be: here, around its evaluation, or where its checkpoint was."""
    folder, checkpoint = contender.folder.absolute(), contender.facts.get("checkpoint")
    places = [contender.folder]
    # A baseline without a checkpoint is of no run.
    if folder.parent.name == EVALUATIONS and (checkpoint or not contender.facts.get("model")):
        places.append(folder.parent.parent)
    # From another working folder a relative path might lead to another run.
    if checkpoint and Path(checkpoint).is_absolute():
        places.append(Path(checkpoint).parent.parent)
    return places


def flat(settings: object, prefix: str = "") -> dict[str, str]:
    """Settings by dotted name."""
    if not isinstance(settings, Mapping):
        return {prefix.removesuffix("."): "null" if settings is None else str(settings)}
    found: dict[str, str] = {}
    for key, value in settings.items():
        found |= flat(value, f"{prefix}{key}.")
    return found


def differing_settings(runs: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """The settings that differ, to their value in each run; - where a run does not have them."""
    keys = dict.fromkeys(key for own in runs for key in own if key not in OWN)
    values = {key: [own.get(key, "-") for own in runs] for key in keys}
    return {key: own for key, own in values.items() if len(set(own)) > 1}


def _settings(differing: Mapping[str, Sequence[str]], names: Sequence[str]) -> Table:
    title = "settings that differ" if differing else "no setting is known to differ"
    rows = [["setting", *names], *([key, *values] for key, values in differing.items())]
    if len(names) > 4:  # more runs than fit beside each other
        rows = [list(column) for column in zip(*rows, strict=True)]
        rows[0][0] = "run"
    table = Table(*rows[0], title=title)
    for row in rows[1:]:
        table.add_row(*row)
    return table


def _figures(contest: Contest) -> Table:
    units = contest.units
    table = Table(
        "run", "score threshold", *JUDGED.values(), title=f"on {len(contest.errors[0])} common pairs"
    )
    table.caption = f"95 % intervals: {contest.resamples} resamples of {units.number} {units.kind}s"
    if units.too_few:
        table.caption = f"no intervals: {units.too_few}"
    elif units.caution:
        table.caption += f"; probably too narrow: {units.caution}"
    for one, values, between in zip(contest.contenders, contest.values, contest.intervals, strict=True):
        cells = [_cell(values[key], between[key]) for key in JUDGED]
        table.add_row(one.name, f"{one.threshold:.2f}", *cells)
    return table


def _differences(contest: Contest) -> Table:
    many = len(contest.contenders) > 2
    columns = ["run", "figure", "difference", "95 % interval", "p", *(["p, corrected"] if many else [])]
    table = Table(*columns, "effect", title=f"difference from {contest.contenders[0].name}")
    table.caption = "effect: in standard deviations of the difference of one " + contest.units.kind
    for number, one in enumerate(contest.contenders[1:], start=1):
        for key, name in JUDGED.items():
            value, (low, high), p, effect = contest.differences[number][key]
            corrected = [p_text(contest.corrected[number][key])] if many else []
            told = ["-"] * 4
            if not math.isnan(value):
                between = "-" if math.isnan(low) else f"{low:+.3f} to {high:+.3f}"
                size = "-" if math.isnan(effect) else f"{effect:+.2f}"
                told = [f"{value:+.3f}", between, p_text(p), size]
            table.add_row(one.name, name, *told[:3], *corrected, told[3])
    return table


def _cell(value: float, between: Interval) -> str:
    if math.isnan(value):
        return "-"
    low, high = between
    return f"{value:.3f}" if math.isnan(low) else f"{value:.3f} ({low:.3f} to {high:.3f})"


def _write_csv(path: Path, contest: Contest, differing: Mapping[str, Sequence[str]]) -> None:
    """A row for each run and figure; the settings that differ are columns too."""
    first = ("run", "folder", "figure", "value", "low", "high")
    change = ("difference", "difference_low", "difference_high", "p", "p_corrected", "effect")
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow([*first, *change, *differing])
        for number, one in enumerate(contest.contenders):
            own = [values[number] for values in differing.values()]
            for key, value in contest.values[number].items():
                cells: list[object] = [value, *contest.intervals[number][key]]
                if number:
                    found = contest.differences[number][key]
                    p = contest.corrected[number].get(key, float("nan"))
                    cells += [found.value, *found.interval, found.p, p, found.effect]
                cells += [""] * (3 + len(change) - len(cells))
                shown = ["" if cell != cell else f"{cell:.6g}" if cell != "" else "" for cell in cells]
                rows.writerow([one.name, one.folder, key, *shown, *own])
