"""Signals that ask a run to save itself and stop."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from lightning import Trainer

from detr_diff.errors import UserError

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # of schedulers: the time is up, or soon will be


class StoppedBySignal(UserError):
    """The run was asked to stop; it goes on with resume=true."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again


class Stop:
    """Whether a signal has asked the run to stop.

    In training, the request waits for the end of the optimizer step and its checkpoint. Elsewhere,
    in preparation and validation, there is nothing to save, and it stops at once.

    Args:
        tell: Is told the name of the signal when the run stops.

    Attributes:
        at_once: Whether a signal stops the run where it is.
        decided: Whether all processes have agreed to stop.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self.at_once = True
        self.decided = False
        self._signal: str | None = None
        self._raised: StoppedBySignal | None = None

    @contextmanager
    def listening(self) -> Iterator["Stop"]:
        """Take the signals while this lasts.

        Raises:
            StoppedBySignal: One came; also where a library, as torch.compile, has made another error of it.
            KeyboardInterrupt: Likewise.
        """
        before = {number: signal.getsignal(number) for number in SIGNALS}
        self.listen()
        try:
            yield self
        except Exception as error:
            asked = self._raised or _interrupt_before(error)
            if asked is None or error is asked:
                raise
            raise asked from error
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def listen(self) -> None:
        """Take the signals, whoever took them before."""
        for number in SIGNALS:
            signal.signal(number, self._take)

    def agree(self, trainer: Trainer, wished: bool) -> tuple[bool, bool]:
        """Whether any process has been asked, and whether any wishes for something else.

        All processes must call it together.
        """
        asked = self._signal is not None
        if trainer.world_size > 1:
            said = torch.tensor([asked, wished], dtype=torch.int64, device=trainer.strategy.root_device)
            asked, wished = trainer.strategy.reduce(said, reduce_op="sum").bool().tolist()
        self.decided |= asked
        return asked, wished

    def look(self) -> None:
        """Stop at once when that was asked.

        Raises:
            StoppedBySignal: It was.
        """
        if self._signal is not None or self.decided:
            self.now("outside of training; resume=true goes on from the newest checkpoint")

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
        self._signal = signal.Signals(number).name
        if self.at_once:
            self.look()


def _interrupt_before(error: BaseException) -> KeyboardInterrupt | None:
    """Ctrl-C, where the error arose on the way out from it, as when a context of torch fails to end."""
    before = error.__context__
    while before is not None and not isinstance(before, KeyboardInterrupt):
        before = before.__context__
    return before
