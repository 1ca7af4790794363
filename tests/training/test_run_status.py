import json
import logging
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detr_diff.choices import RunState
from detr_diff.errors import UserError
from detr_diff.training.run_status import SILENT, STATUS, Status, machine, read_status, start_of
from detr_diff.training.status_file import StatusFile, first_process
from tests.conftest import ROOT

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SELF = {
    "pid": os.getpid(),
    "host": "here",
    "machine": machine(),
    "process_start": start_of(psutil.Process()),
    "started": NOW,
    "launched": NOW,
    "heartbeat": NOW,
}
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(
    lambda time: time.replace(microsecond=0)
)
# A run in another process: says that it begins, then trains without end.
RUNNER = """
import sys
from pathlib import Path
from detr_diff.training.status_file import StatusFile
file = StatusFile.begin(Path(sys.argv[1]))
print("begun", flush=True)
step = 0
while True:
    step += 1
    file.report(force=True, step=step, stage="x" * (step % 5000))
"""


@contextmanager
def runner(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        yield process
    finally:
        process.kill()
        process.wait()


def status(**fields) -> Status:
    return Status(**{"state": RunState.running, **SELF, **fields})


def read(folder: Path) -> Status:
    found = read_status(folder)
    assert found is not None
    return found


@given(
    st.builds(
        Status,
        state=st.sampled_from(RunState),
        started=TIMES,
        launched=TIMES,
        heartbeat=TIMES,
        process_start=st.floats(0, 1e9),
        seconds=st.floats(0, 1e9),
        best=st.none() | st.floats(-10, 10),
    )
)
def test_a_status_survives_its_file(one: Status) -> None:
    assert Status.from_json(json.loads(json.dumps(one.to_json()))) == one
    assert Status.from_json(one.to_json() | {"of_a_later_version": 1}) == one


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": "walking"}, "walking"),
        ({"pid": "1"}, "pid=1"),
        ({"heartbeat": "yesterday"}, "yesterday"),
        ({"heartbeat": "2026-01-01T00:00:00"}, "heartbeat=2026-01-01 00:00:00"),  # of no time zone
        ({"started": None}, "started=None"),
        ({"best": "0.5"}, "best=0.5"),
    ],
)
def test_a_foreign_status_is_refused(change: dict, message: str, tmp_path: Path) -> None:
    (tmp_path / STATUS).write_text(json.dumps(status().to_json() | change))
    with pytest.raises(ValueError, match=message):
        read_status(tmp_path)
    content = status().to_json()
    del content["seconds"]
    for text in (json.dumps(content), "[]", "", "{", "\0"):
        (tmp_path / STATUS).write_text(text)
        with pytest.raises(ValueError, match="missing|not a JSON object|Expecting"):
            read_status(tmp_path)


def test_no_status_is_none(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None


def test_this_process_lives_however_long_ago_its_heartbeat() -> None:
    assert status().seen(NOW + timedelta(days=1)).state is RunState.running


def test_another_process_of_the_same_number_is_not_the_run() -> None:
    other = status(process_start=SELF["process_start"] - 5)
    assert other.seen(NOW).state is RunState.killed


@given(st.integers(0, 10**6), st.sampled_from(["another host", "here before a reboot"]))
def test_elsewhere_the_heartbeat_tells(age: int, where: str) -> None:
    seen = status(machine=where).seen(NOW + timedelta(seconds=age))
    assert seen.state is (RunState.killed if age > SILENT.total_seconds() else RunState.running)


@given(st.sampled_from([state for state in RunState if state is not RunState.running]))
def test_what_has_ended_stays_as_it_is(state: RunState) -> None:
    ended = status(state=state, machine="gone")
    assert ended.seen(NOW + timedelta(days=999)) == ended


def test_a_killed_run_does_not_claim_to_run(tmp_path: Path) -> None:
    with runner(tmp_path) as process:
        assert read(tmp_path).seen().state is RunState.running
        for _ in range(200):
            assert read(tmp_path).pid == process.pid  # never half a file
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        # Dead, though its parent has not asked for the exit code yet.
        assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
        assert read(tmp_path).seen().state is RunState.killed
    assert read(tmp_path).seen().state is RunState.killed
    assert read(tmp_path).state is RunState.running


def test_two_processes_do_not_train_one_run(tmp_path: Path) -> None:
    with runner(tmp_path) as process:
        with pytest.raises(UserError, match=f"trained by process {process.pid} since"):
            StatusFile.begin(tmp_path, resume=True)
        assert read(tmp_path).pid == process.pid
    StatusFile.begin(tmp_path, resume=True)
    assert read(tmp_path).pid == os.getpid()


def test_a_run_says_how_it_ended(tmp_path: Path) -> None:
    with StatusFile.begin(tmp_path) as file:
        assert read(tmp_path).state is RunState.running
        file.report(step=3)
    assert (read(tmp_path).state, read(tmp_path).step) == (RunState.finished, 3)

    def fail() -> None:
        with StatusFile.begin(tmp_path):
            error = ValueError("\nboxes of image 3\nsecond line")
            error.add_note("a note")
            raise error

    with pytest.raises(ValueError, match="boxes"):
        fail()
    assert read(tmp_path).state is RunState.failed
    assert read(tmp_path).error == "ValueError: boxes of image 3"
    assert read(tmp_path).step is None  # another run in the same folder


def test_the_keyboard_stops_a_run(tmp_path: Path) -> None:
    def interrupt() -> None:
        with StatusFile.begin(tmp_path):
            raise KeyboardInterrupt

    def as_lightning_does() -> None:
        with StatusFile.begin(tmp_path):
            try:
                raise KeyboardInterrupt
            except KeyboardInterrupt:
                sys.exit(1)

    for stop in (interrupt, as_lightning_does):
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            stop()
        assert (read(tmp_path).state, read(tmp_path).signal) == (RunState.stopped, "SIGINT")


def test_the_first_reason_counts(tmp_path: Path) -> None:
    def stop() -> None:
        with StatusFile.begin(tmp_path) as file:
            file.stopped("SIGTERM")
            file.report(force=True, step=7)  # of a batch that is still being worked on
            sys.exit(143)

    with pytest.raises(SystemExit):
        stop()
    found = read(tmp_path)
    assert (found.state, found.signal, found.error, found.step) == (RunState.stopped, "SIGTERM", None, 7)


def test_a_signal_in_the_middle_of_a_heartbeat_is_not_lost(tmp_path: Path) -> None:
    asked = []

    def handler(*_: object) -> None:
        file.stopped("SIGALRM")
        asked.append(True)

    old = signal.signal(signal.SIGALRM, handler)
    for number in range(20):
        asked.clear()
        with StatusFile.begin(tmp_path) as file:
            signal.setitimer(signal.ITIMER_REAL, 0.002 + number * 1e-4)
            while not asked:
                file.report(force=True)
        assert read(tmp_path).state is RunState.stopped
        assert [path.name for path in tmp_path.iterdir()] == [STATUS]
    signal.signal(signal.SIGALRM, old)


def test_a_resumed_run_goes_on_with_its_status(tmp_path: Path) -> None:
    begun = StatusFile.begin(tmp_path).status
    first = StatusFile(tmp_path, replace(begun, started=NOW, seconds=100.0), None)
    first.report(force=True, step=5, best=0.5, monitor="val/map", mode="max")
    first.failed(OSError("disk full"))

    second = StatusFile.begin(tmp_path, resume=True)
    found = read(tmp_path)
    assert (found.state, found.error, found.resumed) == (RunState.running, None, 0)
    assert (found.started, found.step, found.best) == (NOW, 5, 0.5)
    assert found.launched > NOW
    second.went_on()
    second.finished()
    assert read(tmp_path).resumed == 1
    assert read(tmp_path).seconds >= 100.0
    assert StatusFile.begin(tmp_path).status.resumed == 0


def test_looking_at_a_finished_run_again_changes_nothing(tmp_path: Path) -> None:
    with StatusFile.begin(tmp_path) as file:
        file.report(step=9)
    before = (tmp_path / STATUS).read_bytes()
    with StatusFile.begin(tmp_path, resume=True):
        assert read(tmp_path).state is RunState.running
    assert (tmp_path / STATUS).read_bytes() == before

    def with_other_settings() -> None:
        with StatusFile.begin(tmp_path, resume=True):
            raise UserError("stages.all.epochs was 1, now 2")

    with pytest.raises(UserError):
        with_other_settings()
    assert (tmp_path / STATUS).read_bytes() == before


def test_heartbeats_are_rare_unless_forced(tmp_path: Path) -> None:
    file = StatusFile.begin(tmp_path)
    for step in range(1000):
        file.report(step=step)
    assert read(tmp_path).step is None
    file.report(force=True)
    assert read(tmp_path).step == 999
    file._written -= 11.0  # eleven seconds ago
    assert file.due()
    file.report(step=1000)
    assert read(tmp_path).step == 1000


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The system refuses to write more into a file: as good as a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)


def test_a_full_disk_stops_no_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = StatusFile.begin(tmp_path)
    before = (tmp_path / STATUS).read_bytes()
    with caplog.at_level(logging.WARNING), largest_file(100):
        for step in range(5):
            file.report(force=True, step=step)
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == [
        f"{tmp_path / STATUS} cannot be written"
    ]
    assert (tmp_path / STATUS).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [STATUS]
    file.finished()
    assert (read(tmp_path).state, read(tmp_path).step) == (RunState.finished, 4)


def test_a_damaged_status_is_written_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / STATUS).write_text("{")
    StatusFile.begin(tmp_path, resume=True)
    assert "not readable" in caplog.text
    assert read(tmp_path).state is RunState.running


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    with StatusFile.begin(tmp_path, writes=False) as file:
        file.report(force=True, step=1)
        assert not file.due()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("variables", "first"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),  # torchrun, first of the second node
        ({"LOCAL_RANK": "1"}, False),  # a process that Lightning started
        ({"NODE_RANK": "1"}, False),
        ({"SLURM_PROCID": "0"}, True),
        ({"SLURM_PROCID": "3", "SLURM_LOCALID": "0"}, False),
    ],
)
def test_the_first_process_is_known_by_its_launcher(variables: dict[str, str], first: bool) -> None:
    assert first_process(variables) is first
