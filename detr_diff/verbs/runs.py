"""`detr-diff runs`: a table of all runs. Imports nothing heavy, so that it is there at once."""

import csv
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

from omegaconf import DictConfig
from rich.table import Table

from detr_diff.choices import RunOrder
from detr_diff.errors import SettingError
from detr_diff.text import natural, render
from detr_diff.training.run_folder import RunFolder, find_runs, read_run
from detr_diff.training.run_status import Status

# Of the csv file: what status.json says, and what the other files say.
PROGRESS = (
    *("stage_number", "stages", "stage", "epoch", "epochs", "step", "monitor", "best"),
    *("heartbeat", "seconds", "resumed", "host", "error", "signal"),
)
FILES = ("state", "started", "split", "map_50", "map", "revision", "dirty", "overrides")
COLUMNS = ("run", *FILES[:2], *PROGRESS, *FILES[2:], "folder")
WIDE = 220  # columns of the table where no terminal says how many there are


def run(settings: DictConfig) -> int:
    """Print the table and what is to be said of single runs, and write the csv file."""
    root = Path(settings.runs).expanduser()
    if not root.is_dir():
        raise SettingError(f"runs={settings.runs}: no such folder")
    out = Path(settings.out).expanduser() if settings.out else None
    if out is not None and out.exists():
        raise SettingError(f"out={settings.out}: exists and is never overwritten")
    paths, foreign = find_runs(root)
    listed = [read_run(path, _name(path, root)) for path in paths]
    chosen = [one for one in listed if settings.state in (None, one.state)]
    chosen = in_order(chosen, settings.sort)
    if chosen:
        width = get_terminal_size().columns if sys.stdout.isatty() else WIDE
        print(render(_table(chosen), width))
    else:
        what = f"none of {len(listed)} runs in {root} is {settings.state}" if listed else f"no runs in {root}"
        print(what)
    for one in chosen:
        if one.note:
            print(f"{one.name}: {one.state}: {one.note}")
    for one in listed:
        for reason in one.broken:
            print(f"broken: {reason}")
    if foreign:
        print(f"not runs: {', '.join(path.name for path in foreign)}")
    if any(one.dirty for one in chosen):
        print("* the code had changes that are not in the revision")
    if out is not None:
        write_csv(out, chosen)
        print(f"written: {out}")
    return 0


def _name(path: Path, root: Path) -> str:
    return root.resolve().name if path == root else path.relative_to(root).as_posix()


def in_order(runs: Sequence[RunFolder], order: RunOrder) -> list[RunFolder]:
    """Newest first, by name with numbers as numbers, or the best of each monitored metric first."""

    def best(one: RunFolder) -> tuple[bool, str, float]:
        status = one.status
        if status is None or status.best is None:
            return True, "", 0.0
        return False, status.monitor or "", status.best if status.mode == "min" else -status.best

    listed = sorted(runs, key=lambda one: natural(one.name))
    if order is RunOrder.name:
        return listed
    if order is RunOrder.best:
        return sorted(listed, key=best)
    # The jobs of a multirun may have begun in the same second: then the last is the newest.
    never = datetime.min.replace(tzinfo=UTC)
    return sorted(listed, key=lambda one: one.started or never)[::-1]


def _table(runs: Sequence[RunFolder]) -> Table:
    table = Table("run", "state", "stage", header_style="")
    for title in ("epoch", "step", "best", "final map_50", "final map"):
        table.add_column(title, justify="right")
    table.add_column("started", no_wrap=True)
    table.add_column("duration", justify="right", no_wrap=True)
    table.add_column("revision", no_wrap=True)
    for one in runs:
        started = "" if one.started is None else f"{one.started.astimezone():%Y-%m-%d %H:%M}"
        *progress, duration = _progress(one.status)
        final = [_final(value, one.split) for value in (one.map_50, one.map)]
        revision = (one.revision or "")[:7] + ("*" if one.dirty else "")
        table.add_row(
            one.name,
            one.state,
            *progress,
            *final,
            started,
            duration,
            revision,
        )
    return table


def _progress(status: Status | None) -> tuple[str, str, str, str, str]:
    """Stage, epoch, step, best metric and duration, as far as they are known."""
    if status is None:
        return "", "", "", "", ""
    epoch = "" if status.epoch is None else str(status.epoch)
    if epoch and status.epochs is not None:
        epoch += f"/{status.epochs}"
    return (
        "" if status.stage is None else f"{status.stage_number} of {status.stages}: {status.stage}",
        epoch,
        "" if status.step is None else str(status.step),
        "" if status.best is None else f"{status.monitor}={status.best:.4g}",
        str(timedelta(seconds=round(status.seconds))),
    )


def _final(value: float | None, split: str | None) -> str:
    """A figure of the test pairs; one of the validation pairs says so."""
    if value is None:
        return ""
    return f"{value:.3f} val" if split == "val" else f"{value:.3f}"


def write_csv(path: Path, runs: Sequence[RunFolder]) -> None:
    """All there is to know, one run a line; times in UTC, an empty cell where nothing is known."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, COLUMNS)
        rows.writeheader()
        for one in runs:
            known: dict[str, Any] = {} if one.status is None else one.status.to_json()
            row: dict[str, Any] = {key: known.get(key) for key in PROGRESS}
            row |= {key: getattr(one, key) for key in FILES}
            row |= {"run": one.name, "folder": one.path}
            row["started"] = None if one.started is None else one.started.isoformat()
            rows.writerow(row)
