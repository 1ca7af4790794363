"""status.json: how far a run is, whether it lives, and how it ended. Imports nothing heavy."""

import json
import math
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Self, get_type_hints

import psutil

from detr_diff.choices import RunState

STATUS = "status.json"
# A process that cannot be looked at is taken for dead when its last heartbeat is older.
SILENT = timedelta(minutes=10)


@dataclass(frozen=True)
class Status:
    """What status.json says.

    Attributes:
        state: running until the run says how it ended.
        host: Where it runs.
        machine: Within what `pid` names a process, see `machine`.
        process_start: When the process began, in seconds after the machine did.
        started: When the run began, UTC; resuming does not change it.
        launched: When this process began with the run, UTC.
        heartbeat: Last sign of life, UTC.
        seconds: Time that it has been running, over all launches.
        resumed: How often it went on from a checkpoint.
        epoch: Epochs done.
        epochs: Epochs of the plan.
        step: Optimizer steps done.
        stage: Name of the stage, which is number `stage_number` of `stages`.
        monitor: Name of the monitored metric.
        mode: Whether the `min` or the `max` of it is the best.
        best: Its best value.
        error: Why it failed, the last line of the traceback.
        signal: What stopped it.
    """

    state: RunState
    pid: int
    host: str
    machine: str
    process_start: float
    started: datetime
    launched: datetime
    heartbeat: datetime
    seconds: float = 0.0
    resumed: int = 0
    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    stage: str | None = None
    stage_number: int | None = None
    stages: int | None = None
    monitor: str | None = None
    mode: str | None = None
    best: float | None = None
    error: str | None = None
    signal: str | None = None

    @property
    def score(self) -> float:
        """The best value for a sweeper, which wants a number: nan where there is none."""
        return math.nan if self.best is None else self.best

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """From what the file holds; keys of a later version are passed over.

        Raises:
            ValueError: A key is missing or its value is of another kind.
        """
        if not isinstance(content, Mapping):
            raise ValueError("not a JSON object")
        kinds = get_type_hints(cls)
        values: dict[str, Any] = {}
        for field in fields(cls):
            if field.name not in content:
                raise ValueError(f"{field.name} is missing")
            value, kind = content[field.name], kinds[field.name]
            if kind is RunState:
                value = RunState(value)
            elif kind is datetime:
                value = datetime.fromisoformat(value) if isinstance(value, str) else value
            if not isinstance(value, kind) or (kind is datetime and value.tzinfo is None):
                raise ValueError(f"{field.name}={value}: not {kind}")
            values[field.name] = value
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """As primitives; times in ISO 8601, UTC."""
        return {
            key: value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
            for key, value in asdict(self).items()
        }

    def seen(self, now: datetime | None = None) -> Self:
        """The status as it is true now: one that says running without a living process is killed."""
        if self.state is not RunState.running:
            return self
        alive = self.alive()
        if alive is None:
            alive = self.silent(now) <= SILENT
        return self if alive else replace(self, state=RunState.killed)

    def silent(self, now: datetime | None = None) -> timedelta:
        """Time since the last heartbeat."""
        return (now or datetime.now(UTC)) - self.heartbeat

    def alive(self) -> bool | None:
        """Whether its process lives; None when that cannot be told from here."""
        if self.machine != machine():
            return None
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            # Another process may have got the number since.
            return abs(start_of(process) - self.process_start) < 1.0
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return None


def read_status(folder: Path) -> Status | None:
    """What status.json of a run folder says; None when there is none.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not one that a run wrote.
    """
    try:
        return Status.from_json(json.loads((folder / STATUS).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


@cache
def machine() -> str:
    """Names that within which a process number means something: this host since its boot, this container."""
    parts = [socket.gethostname()]
    if (boot := Path("/proc/sys/kernel/random/boot_id")).exists():
        parts.append(boot.read_text(encoding="ascii").strip())
    if (space := Path("/proc/self/ns/pid")).is_symlink():
        parts.append(os.readlink(space))
    return " ".join(parts)


def start_of(process: psutil.Process) -> float:
    """When a process began, in seconds after the machine did: setting the clock changes nothing."""
    return round(process.create_time() - psutil.boot_time(), 2)
