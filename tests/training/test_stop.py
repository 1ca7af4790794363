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


def interrupted_in_a_library(stop: Stop) -> None:
    with stop.listening():
        try:
            try:
                raise KeyboardInterrupt
            finally:
                raise IndexError("pop from empty mode stack")
        except IndexError as error:
            raise RuntimeError("the context did not end") from error


def test_a_signal_is_told_whatever_a_library_makes_of_it() -> None:
    told: list[str] = []
    with pytest.raises(StoppedBySignal, match="stopped by SIGTERM"):
        stopped_in_a_library(Stop(told.append))
    assert told == ["SIGTERM"]


def test_another_error_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="broken"):
        broken(Stop(print))


def test_control_c_is_itself_whatever_a_library_makes_of_it() -> None:
    """By chance it came while a context of torch was entered, which then failed to end; the sweep went on."""
    with pytest.raises(KeyboardInterrupt):
        interrupted_in_a_library(Stop(print))
