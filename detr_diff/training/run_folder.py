"""What a run folder says of its run. Imports nothing heavy."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from detr_diff.choices import RunState
from detr_diff.training.provenance import ENVIRONMENT, read_launches
from detr_diff.training.run_status import SILENT, STATUS, Status, read_status

CONFIG = "config.yaml"
METRICS = "metrics.json"
OVERRIDES = "overrides.txt"
EVALUATIONS = "evaluation"  # folder of those by `detr-diff evaluate`


@dataclass
class RunFolder:
    """A run as its files show it.

    Attributes:
        name: The folder, seen from the folder of all runs; a job of a multirun ends in its number.
        path: The run folder.
        state: How it stands now.
        status: What status.json says, with the same state; None in a run older than that file.
        started: When it began, UTC; of a run without status.json the time of its settings.
        split: What the final figures are of, test or val.
        map_50: Final AP at IoU 0.5.
        map: Final AP.
        revision: Of the code, when it was last launched; None when it was no checkout.
        dirty: Whether that code had changes; None when that is not known.
        overrides: What a job of a multirun was given.
        broken: Files that cannot be read, with the reason.
    """

    name: str
    path: Path
    state: RunState = RunState.unknown
    status: Status | None = None
    started: datetime | None = None
    split: str | None = None
    map_50: float | None = None
    map: float | None = None
    revision: str | None = None
    dirty: bool | None = None
    overrides: str = ""
    broken: list[str] = field(default_factory=list)

    @property
    def note(self) -> str:
        """What is to be said of its end, or of its silence; empty when all is well."""
        status = self.status
        if status is None:
            return ""
        beat = f"last heartbeat {status.heartbeat.astimezone():%Y-%m-%d %H:%M} on {status.host}"
        if self.state is RunState.failed:
            return status.error or ""
        if self.state is RunState.stopped:
            return f"by {status.signal}; resume=true goes on"
        if self.state is RunState.killed:
            return f"{beat}; resume=true goes on"
        if self.state is RunState.running and status.silent() > SILENT:
            return f"its process {status.pid} lives, but {beat}"
        return ""


def read_run(path: Path, name: str) -> RunFolder:
    """Read a run folder; what is broken in it is named in the result."""
    run = RunFolder(name, path)
    with _broken(run, METRICS):
        figures = json.loads((path / METRICS).read_text(encoding="utf-8"))
        if not isinstance(figures, dict):
            raise ValueError("not a JSON object")
        run.state = RunState.finished  # unless status.json says more
        run.split = "test" if "test/map" in figures else "val"
        run.map_50, run.map = (_number(figures.get(f"{run.split}/{key}")) for key in ("map_50", "map"))
    with _broken(run, CONFIG):
        run.started = datetime.fromtimestamp((path / CONFIG).stat().st_mtime, UTC).replace(microsecond=0)
    with _broken(run, STATUS):
        if (status := read_status(path)) is not None:
            run.status = status.seen()
            run.state, run.started = run.status.state, run.status.started
    with _broken(run, ENVIRONMENT):
        launches = read_launches(path)
        git = launches[-1].get("git") if launches else None
        if isinstance(git, dict):
            run.revision, run.dirty = str(git.get("revision")), git.get("dirty")
    with _broken(run, OVERRIDES):
        run.overrides = " ".join((path / OVERRIDES).read_text(encoding="utf-8").split())
    return run


@contextmanager
def _broken(run: RunFolder, file: str) -> Iterator[None]:
    """Go on without a file that is not there, and name one that cannot be read."""
    try:
        yield
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        run.broken.append(f"{run.path / file}: not readable ({error})")


def find_runs(root: Path) -> tuple[list[Path], list[Path]]:
    """The run folders below a folder, and the folders right below it in which there is none.

    A folder that is itself a run is one, with its jobs if it is a multirun too.

    Raises:
        OSError: The folder cannot be listed.
    """
    if _is_run(root):
        return list(_below(root, set())), []
    seen = {os.path.realpath(root)}
    runs: list[Path] = []
    foreign: list[Path] = []
    for child in _folders(root):
        found = list(_below(child, seen))
        runs += found
        if not found:
            foreign.append(child)
    return runs, foreign


def _below(folder: Path, seen: set[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in seen:  # links may go round in circles
        return
    seen.add(real)
    is_run = _is_run(folder)
    if is_run:
        yield folder
    try:
        children = _folders(folder)
    except OSError:
        return
    for child in children:
        # A run has pictures and checkpoints below it, and at most the jobs of a multirun.
        if not is_run or child.name.isdigit():
            yield from _below(child, seen)


# os.path, as pathlib raises where a folder may not be looked into.
def _is_run(folder: Path) -> bool:
    return any(os.path.isfile(folder / name) for name in (STATUS, CONFIG, METRICS))


def _folders(folder: Path) -> list[Path]:
    """Subfolders; links last, so that a run has the name of its own folder."""
    found = [path for path in folder.iterdir() if os.path.isdir(path) and not path.name.startswith(".")]
    return sorted(found, key=lambda path: (path.is_symlink(), path.name))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
