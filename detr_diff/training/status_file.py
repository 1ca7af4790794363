"""Keeping status.json of the run that this process trains. Imports nothing heavy."""

import json
import logging
import math
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from detr_diff.choices import RunState
from detr_diff.errors import UserError
from detr_diff.training.run_status import STATUS, Status, machine, read_status, start_of
from detr_diff.training.whole_file import write_whole

log = logging.getLogger(__name__)

EVERY = 10.0  # seconds between heartbeats, at least


class StatusFile:
    """Keeps status.json of a run that this process trains.

    As a context manager it writes how the block ended: finished, failed with the reason, or
    stopped by the keyboard. `stopped` says before the end that a signal is the reason. A file that
    cannot be written is told once in the log and stops no training.

    Args:
        folder: The run folder.
        status: What it says first.
        before: What it said when this process came.
        writes: False in processes other than the first, which write nothing.
    """

    def __init__(self, folder: Path, status: Status, before: Status | None, writes: bool = True) -> None:
        self.path = folder / STATUS
        self.before = before
        self.writes = writes
        self.trained = False
        self._progress = status
        # Apart from the progress: a signal may say so while a heartbeat is being put together.
        self._ending: dict[str, Any] = {}
        self._clock = time.monotonic()
        self._seconds = status.seconds
        self._written = -math.inf
        self._complained = False

    @classmethod
    def begin(cls, folder: Path, resume: bool = False, writes: bool | None = None) -> "StatusFile":
        """Say that this process trains the run.

        Args:
            folder: The run folder; it exists.
            resume: Whether it goes on with what is in the folder.
            writes: Whether this process keeps the file; by default the first process does.

        Raises:
            UserError: Another process on this machine trains the run.
        """
        writes = first_process() if writes is None else writes
        before = None
        try:
            before = read_status(folder)
        except (OSError, ValueError) as error:
            log.warning("%s: not readable (%s); it is written anew", folder / STATUS, error)
        now = datetime.now(UTC).replace(microsecond=0)
        own = psutil.Process()
        if (
            writes
            and before
            and before.pid != own.pid
            and before.state is RunState.running
            and before.alive()
        ):
            raise UserError(
                f"{folder} is being trained by process {before.pid} since {before.launched.isoformat()}: "
                "stop it first, or choose another run_name=..."
            )
        fresh: dict[str, Any] = {
            "state": RunState.running,
            "pid": own.pid,
            "host": socket.gethostname(),
            "machine": machine(),
            "process_start": start_of(own),
            "launched": now,
            "heartbeat": now,
        }
        if resume and before:
            status = replace(before, **fresh, error=None, signal=None)
        else:
            status = Status(**fresh, started=now)
        file = cls(folder, status, before if resume else None, writes)
        file.report(force=True)
        return file

    @property
    def status(self) -> Status:
        """What the file says, or will say when it can be written."""
        return replace(self._progress, **self._ending)

    def due(self) -> bool:
        """Whether it is time for a heartbeat."""
        return self.writes and time.monotonic() - self._written >= EVERY

    def report(self, force: bool = False, **progress: Any) -> None:
        """Give a heartbeat, with what is new of the progress, when one is due or forced.

        Args:
            force: Write even though the last heartbeat is not long ago.
            **progress: Fields of Status.
        """
        self._progress = replace(self._progress, **progress)
        self.trained |= bool(progress)
        if not self._ending and (force or self.due()):
            self._write()

    def went_on(self) -> None:
        """Count that training went on from a checkpoint."""
        self._progress = replace(self._progress, resumed=self._progress.resumed + 1)

    def finished(self) -> None:
        """All is done."""
        self._end(RunState.finished)

    def failed(self, error: BaseException) -> None:
        """An error ended it."""
        first = next((line for line in str(error).splitlines() if line.strip()), "")
        reason = f"{type(error).__name__}: {first.strip()}" if first else type(error).__name__
        self._end(RunState.failed, error=reason)

    def stopped(self, signal: str) -> None:
        """A signal, of that name, asked it to stop; it will be resumed."""
        self._end(RunState.stopped, signal=signal)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.finished()
        # Lightning turns the first into the second.
        elif isinstance(error, KeyboardInterrupt) or (
            isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt)
        ):
            self.stopped("SIGINT")
        else:
            self.failed(error)

    def _end(self, state: RunState, **why: Any) -> None:
        """Write how it ended; the first reason counts."""
        self._ending = self._ending or {"state": state, **why}
        before = self.before
        if before and before.state is RunState.finished and not self.trained:
            # It was looked at again, nothing more.
            self._replace(before)
        else:
            # Again even when it is written: a heartbeat that the signal interrupted has come later.
            self._write()

    def _write(self) -> None:
        now = datetime.now(UTC).replace(microsecond=0)
        seconds = round(self._seconds + time.monotonic() - self._clock, 1)
        self._progress = replace(self._progress, heartbeat=now, seconds=seconds)
        self._replace(self.status)

    def _replace(self, status: Status) -> None:
        if not self.writes:
            return
        self._written = time.monotonic()
        try:
            write_whole(self.path, json.dumps(status.to_json(), indent=2) + "\n")
        except OSError as error:
            if not self._complained:
                log.warning("%s cannot be written (%s); training goes on", self.path, error.strerror or error)
            self._complained = True


def first_process(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is the first of the processes that train together, by the variables of their launcher."""
    if "RANK" in environment:
        return environment["RANK"] == "0"
    ranks = ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
    return all(environment.get(name, "0") == "0" for name in ranks)
