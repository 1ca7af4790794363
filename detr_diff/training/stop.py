"""Signals that ask a run to save itself and stop. Imports nothing heavy, as they may come at any time."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING

from detr_diff.data.worker import SIGNALS
from detr_diff.errors import UserError

if TYPE_CHECKING:
    from lightning import Trainer


class StoppedBySignal(UserError):
    """The run was asked to stop; it goes on with resume=true."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again


class Stop:
    """Whether a signal has asked the run to stop.

    In training, the request waits for the end of the optimizer step, or of the validation, and a
    checkpoint. Elsewhere, as in preparation, there is nothing to save, and it stops at once.

    Attributes:
        tell: Is told the name of the signal when the run stops.
        at_once: Whether a signal stops the run where it is.
        decided: Whether all processes have agreed to stop.
        since: When a signal came to this process, by the clock `time.monotonic`; None: none came.
    """

    def __init__(self) -> None:
        self.tell: Callable[[str], None] = lambda name: None
        self.at_once = True
        self.decided = False
        self.since: float | None = None
        self._signal: str | None = None
        self._raised: StoppedBySignal | None = None
        self._interrupted = False

    @contextmanager
    def listening(self) -> Iterator["Stop"]:
        """Take the signals while this lasts.

        Raises:
            StoppedBySignal: One came, see `unmistaken`.
            KeyboardInterrupt: Likewise.
        """
        before = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGINT)}
        self.listen()
        if before[signal.SIGINT] is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._interrupt)
        try:
            with self.unmistaken():
                yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def unmistaken(self) -> Iterator[None]:
        """Let an error that came of a signal be that signal.

        Raises:
            StoppedBySignal: A signal came, and a library, as torch.compile, has made another error of it.
            KeyboardInterrupt: Ctrl-C came, and a library has made another error of it, or has passed over
                it while it was being imported and is incomplete.
        """
        try:
            yield
        except Exception as error:
            asked = KeyboardInterrupt() if self._interrupted else self._raised
            if asked is None or error is asked:
                raise
            raise asked from error

    def listen(self) -> None:
        """Take the signals, whoever took them before."""
        for number in SIGNALS:
            signal.signal(number, self._take)

    def agree(self, trainer: "Trainer", wished: bool = False) -> tuple[bool, bool]:
        """Whether any process has been asked, and whether any wishes for something else.

        All processes must call it together.
        """
        import torch

        asked = self._signal is not None
        if trainer.world_size > 1:
            said = torch.tensor([asked, wished], dtype=torch.int64, device=trainer.strategy.root_device)
            asked, wished = trainer.strategy.reduce(said, reduce_op="sum").bool().tolist()
        self.decided |= asked
        return asked, wished

    def look(self) -> None:
        """Stop at once when that was asked, whatever a library has passed over.

        Raises:
            StoppedBySignal: It was.
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        if self._interrupted:
            raise KeyboardInterrupt
        if self._signal is not None or self.decided:
            self.now("outside of training; resume=true goes on")

    def now(self, what: str) -> None:
        """Stop.

        Raises:
            StoppedBySignal: Always.
        """
        name = self._signal or "another process"
        self.tell(name)
        self._raised = StoppedBySignal(f"stopped by {name} {what}")
        raise self._raised

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.since = monotonic() if self.since is None else self.since
        self._signal = signal.Signals(number).name
        if self.at_once:
            self.look()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._interrupted = True
        raise KeyboardInterrupt
