"""Running training jobs: one, or a Hydra multirun in which a failing job stops no other."""

import csv
import json
import logging
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from detr_diff.compose import impossible, parse_all, register_schemas
from detr_diff.errors import SettingError
from detr_diff.grammar import quoted
from detr_diff.help import CONF
from detr_diff.launch import STOPPED, TRACEBACK, launch, launched, processes
from detr_diff.text import render
from detr_diff.training.run_status import read_status
from detr_diff.verbs import module_of
from detr_diff.verbs.bounds import FREE

log = logging.getLogger(__name__)

OVERRIDES = "overrides.txt"
METRICS = "metrics.json"
COLUMNS = ("map", "map_50", "f1", "loss")


def run_jobs(settings: DictConfig, overrides: Sequence[str], sweep: bool) -> int:
    """Train once, or once for every combination of a multirun.

    Args:
        settings: Of the job, or of the first job of the multirun.
        overrides: As on the command line; Hydra reads them again for each job.
        sweep: Whether this is a multirun.

    Returns:
        The exit code: 1 when a job of a multirun failed.

    Raises:
        SettingError: The run exists already, or its name is none.
    """
    if not settings.run_name or ".." in Path(settings.run_name).parts or not Path(settings.run_name).name:
        raise SettingError(f"run_name={settings.run_name}: the name of a folder in {settings.runs}/")
    folder = Path(settings.runs) / settings.run_name
    if has_results(folder) and not settings.resume:
        raise SettingError(
            f"{folder} exists and is never overwritten: choose another run_name=..., "
            "or go on with resume=true"
        )
    alone = has_results(folder, jobs=False)
    if sweep and alone:
        raise SettingError(f"run_name={settings.run_name}: {folder} is a run, which holds no others")
    if not sweep and not alone and has_results(folder):
        raise SettingError(f"run_name={settings.run_name}: {folder} is a sweep, --multirun goes on with it")
    for above in folder.parents:
        if Path(settings.runs) in above.parents and has_results(above, jobs=False):
            raise SettingError(f"run_name={settings.run_name}: {above} is a run, which holds no others")
    register_schemas()
    # Said, or jobs with other names (experiment=a,b) would go elsewhere.
    one_folder = [f"hydra.sweep.dir={quoted(str(folder))}", "--multirun"] if sweep else []
    sys.argv = ["detr-diff", *overrides, *one_folder]
    main = hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
    ran: list[str] = []
    group = settings.run_name if sweep else None
    # What is swept tells the jobs apart.
    swept = tuple(one.key_or_group for one in parse_all(overrides) if one.is_sweep_override())
    free = tuple(key for key in FREE if key not in swept) if has_results(folder) else None
    try:
        main(partial(train_job, group=group, ran=ran, free=free))()
    except Stopped as stopped:
        raise stopped.error from None
    except SystemExit as stopped:
        if sweep:
            why = impossible("train", overrides) or "see above"
            raise SettingError(f"the sweep did not start: {why}") from stopped
        return int(stopped.code or 1)
    return close_sweep(folder, ran) if sweep else 0


def has_results(folder: Path, jobs: bool = True) -> bool:
    """Whether a folder holds what a run, or with `jobs` a sweep of runs, has produced."""
    patterns = ("metrics.csv", METRICS, "checkpoints/*.ckpt")
    return any(any(folder.glob(f"{level}{p}")) for level in ("", "[0-9]*/")[: 1 + jobs] for p in patterns)


def train_job(
    settings: DictConfig, group: str | None, ran: list[str], free: tuple[str, ...] | None
) -> float | None:
    """One training job in the folder that Hydra made for it.

    A failure leaves traceback.txt there. Alone, the job raises; in a multirun it returns nan, so
    that the other jobs run and a sweeper sees a value that is not a number. A signal to stop
    stops the multirun too.

    Args:
        settings: Of the job.
        group: Name of the multirun.
        ran: Gets the name of the job's folder.
        free: Where some job of the multirun had results before, what may be given otherwise than then.
    """
    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir)
    ran.append(folder.name)
    sweep = job.mode is RunMode.MULTIRUN
    if sweep:
        _keep_overrides(folder, list(job.overrides.task), free)
    try:
        OmegaConf.resolve(settings)
        count = processes(settings.trainer)
        if count == 1 or launched():
            return guarded(settings, folder, group)
        launch(count, settings, folder, group)
        status = read_status(folder)
        return status.score if status else float("nan")
    except SystemExit as error:
        # Lightning turns one into the other.
        raise Stopped(
            error.__context__ if isinstance(error.__context__, KeyboardInterrupt) else error
        ) from error
    except Exception as error:
        if not sweep or getattr(error, "exit_code", 1) == STOPPED:
            raise Stopped(error) from error
        log.error("job %s failed: %s", job.job.num, error)
        return float("nan")


def guarded(settings: DictConfig, folder: Path, group: str | None) -> float:
    """Train; a failure leaves traceback.txt in the run folder.

    Args:
        settings: Of the job.
        folder: Of the run.
        group: Name of the multirun.

    Returns:
        The best value of the monitored metric.
    """
    from detr_diff.training.status_file import StatusFile, first_process
    from detr_diff.training.stop import Stop

    with Stop().listening() as stop:
        status = StatusFile.begin(folder, settings.resume)
        stop.tell = status.stopped
        if first_process():
            (folder / TRACEBACK).unlink(missing_ok=True)
        try:
            with status, stop.unmistaken():
                return float(module_of("train").train(settings, folder, group, status, stop))
        except Exception as error:
            # What is refused on resume does not spoil what has finished.
            if getattr(error, "exit_code", 1) != STOPPED and not (folder / METRICS).exists():
                # Of several processes the first to fail knows why.
                with suppress(FileExistsError), (folder / TRACEBACK).open("x", encoding="utf-8") as file:
                    file.write(traceback.format_exc())
                error.add_note(f"traceback in {folder / TRACEBACK}")
            raise


class Stopped(BaseException):
    """Carries an error past Hydra, which would print its own traceback and exit."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


def close_sweep(folder: Path, ran: Sequence[str]) -> int:
    """Show a table of the jobs' final metrics and write it to sweep.csv.

    Args:
        folder: Of the sweep.
        ran: Names of its jobs, where this process knows them; else all in the folder are.

    Returns:
        1 when a job failed, else 0.
    """
    there = sorted((p for p in folder.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    jobs = [job for job in there if job.name in ran or not ran]
    if others := [job.name for job in there if job not in jobs]:
        log.warning("jobs of an earlier sweep with other values, not in the table: %s", ", ".join(others))
    given = {job: _overrides(job) for job in jobs}
    every = set.intersection(*map(set, given.values())) if len(jobs) > 1 else set()
    table = Table("job", "settings", *COLUMNS, "state", title=f"sweep {folder}")
    rows = [["job", "overrides", *COLUMNS, "state"]]
    failed = False
    for job in jobs:
        figures = {}
        state = "no result"
        if (job / METRICS).exists():
            figures = json.loads((job / METRICS).read_text(encoding="utf-8"))
            state = "finished"
        if (job / TRACEBACK).exists():
            state = "failed: " + (job / TRACEBACK).read_text(encoding="utf-8").strip().splitlines()[-1]
        failed |= state != "finished"
        split = "test" if "test/map" in figures else "val"
        values = [figures.get(f"{split}/{key}") for key in COLUMNS]
        shown = ["" if value is None else f"{value:.4f}" for value in values]
        # What all jobs have in common is in sweep.csv.
        own = [word for word in given[job] if word not in every]
        table.add_row(job.name, "\n".join(own), *shown, state)
        rows.append([job.name, " ".join(given[job]), *shown, state])
    with (folder / "sweep.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    print(render(table))
    return int(failed)


def _keep_overrides(job: Path, words: list[str], free: tuple[str, ...] | None) -> None:
    """Write what this job was given; all must go on with what they began with.

    Args:
        job: Its folder.
        words: The overrides.
        free: See train_job.

    Raises:
        Stopped: It does not, so the jobs of this sweep are others; one that failed must not become another.
    """
    before = _overrides(job)
    changed = set(before) ^ set(words)
    if before and free is not None and any(not word.startswith(free) for word in changed):
        error = SettingError(
            f"resume=true: job {job.name} was {' '.join(before)}, now {' '.join(words)}; begin another sweep"
        )
        raise Stopped(error)
    (job / OVERRIDES).write_text("\n".join(words) + "\n", encoding="utf-8")


def _overrides(job: Path) -> list[str]:
    path = job / OVERRIDES
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
