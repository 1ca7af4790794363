"""One of the sides that take turns: a process that waits until it is asked to measure."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PACKAGE = Path(__file__).parents[1]


class Failed(Exception):
    """The side ended without an answer; the message is the last line it wrote."""


class Side:
    """A process that sets up, warms up, and then measures once for each turn it gets.

    It lives through all turns, so that nothing but what is measured is repeated, and it has
    memory of its own, so that its peak is its own.

    Args:
        command: What is started.
        log: Where everything goes that the process writes beside its answers.
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self.log = log
        # One GPU: with several the transformers Trainer takes them all.
        devices = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
        # They see what this process sees, wherever it was started.
        path = os.pathsep.join(dict.fromkeys([str(PACKAGE.parent), *sys.path[1:]]))
        log.parent.mkdir(exist_ok=True)
        with log.open("a", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={
                    **os.environ,
                    "HF_HUB_OFFLINE": "1",
                    "PYTHONPATH": path,
                    "CUDA_VISIBLE_DEVICES": devices,
                },
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        if kind is not None:
            self._process.kill()
        self._process.stdout.close()
        self._process.wait()

    def prepare(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Give it a job, when it is done with the one before, and wait until it is warm.

        Args:
            job: What is measured, as primitives.

        Returns:
            What it says about itself.
        """
        return self._ask(json.dumps(job))

    def turn(self) -> dict[str, Any]:
        """Let it measure."""
        return self._ask("")

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failed() from None
        said = self._process.stdout.readline()
        if not said:
            raise self._failed()
        answer: dict[str, Any] = json.loads(said)
        return answer

    def _failed(self) -> Failed:
        code = self._process.wait()
        lines = [line for line in self.log.read_text(encoding="utf-8").splitlines() if line.strip()]
        return Failed(lines[-1] if lines else f"exit code {code}")


class Sides:
    """The processes of the sides by their names.

    Args:
        commands: Name of a side to what starts it; ours starts every other side.
        logs: The folder of their logs.
    """

    def __init__(self, commands: Mapping[str, Sequence[str]], logs: Path) -> None:
        self.commands = commands
        self.logs = logs
        self._open: dict[str, Side] = {}
        self._stack = ExitStack()

    def start(self, name: str) -> Side:
        """The process of a side."""
        if name not in self._open:
            command = self.commands.get(name, self.commands["ours"])
            self._open[name] = self._stack.enter_context(Side(command, self.logs / f"{name}.log"))
        return self._open[name]

    def close(self) -> None:
        """End all processes; the next measurement has new ones, whose peak memory is its own."""
        self._stack.close()
        self._open = {}
