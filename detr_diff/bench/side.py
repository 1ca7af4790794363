"""One of the sides that take turns: a process that waits until it is asked to measure."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Failed(Exception):
    """The side ended without an answer; the message is the last line it wrote."""


class Side:
    """A process that sets up, warms up, and then measures once for each turn it gets.

    It lives through all turns, so that nothing but what is measured is repeated, and it has
    memory of its own, so that its peak is its own.

    Args:
        command: What is started; a job is added to it.
        job: What is measured, as primitives.
        log: Where everything goes that the process writes beside its answers.
    """

    def __init__(self, command: Sequence[str], job: Mapping[str, Any], log: Path) -> None:
        self.log = log
        with log.open("w", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                [*command, json.dumps(job)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(sys.path[1:])},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        if kind is not None:
            self._process.kill()
        self._process.stdout.close()
        self._process.wait()

    def ready(self) -> dict[str, Any]:
        """Wait until it is warm; what it says about itself."""
        return self._answer()

    def turn(self) -> dict[str, Any]:
        """Let it measure."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failed() from None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._failed()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _failed(self) -> Failed:
        code = self._process.wait()
        lines = [line for line in self.log.read_text(encoding="utf-8").splitlines() if line.strip()]
        return Failed(lines[-1] if lines else f"exit code {code}")
