import os
import signal

import pytest

from detr_diff.training.stop import Stop, StoppedBySignal


def stopped_in_a_library(stop: Stop) -> None:
    with stop.listening():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            os.getpid()  # the handler runs between two steps of Python
        except Exception as error:
            raise RuntimeError("the graph could not be compiled") from error


def broken(stop: Stop) -> None:
    with stop.listening():
        raise RuntimeError("broken")


def interrupted_in_a_library(stop: Stop, passed_over: bool) -> None:
    with stop.listening():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            os.getpid()
        except KeyboardInterrupt:
            if not passed_over:
                raise RuntimeError("the context did not end") from None
        raise AttributeError("half of the module is missing")


def test_a_signal_is_told_whatever_a_library_makes_of_it() -> None:
    told: list[str] = []
    stop = Stop()
    stop.tell = told.append
    with pytest.raises(StoppedBySignal, match="stopped by SIGTERM"):
        stopped_in_a_library(stop)
    assert told == ["SIGTERM"]


def test_another_error_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="broken"):
        broken(Stop())


@pytest.mark.parametrize("passed_over", [False, True])
def test_control_c_is_itself_whatever_a_library_makes_of_it(passed_over: bool) -> None:
    """By chance it came while a context of torch was entered, or a module imported, and the sweep went on."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted_in_a_library(Stop(), passed_over)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, handler)


def test_a_signal_that_a_library_passed_over_stops_it_later() -> None:
    stop = Stop()
    stop.at_once = False
    with stop.listening():
        os.kill(os.getpid(), signal.SIGUSR1)
        os.getpid()
        assert stop.since is not None
        with pytest.raises(StoppedBySignal, match="stopped by SIGUSR1 outside of training"):
            stop.look()
