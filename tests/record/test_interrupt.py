"""Signals that end a run, held back or not."""

import signal
import threading
from collections.abc import Iterator

import pytest

from asr_parallel.record import interrupt
from asr_parallel.record.interrupt import SIGNALS, Interrupted, StopRequest, raise_on_signals, signals_ignored


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = [(number, signal.getsignal(number)) for number in SIGNALS]
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_each_raises_unless_it_was_ignored_from_the_start(number: signal.Signals) -> None:
    raise_on_signals()
    with pytest.raises(Interrupted) as raised:
        signal.raise_signal(number)
    assert raised.value.number == number
    with signals_ignored():
        signal.raise_signal(number)
        raise_on_signals()
        with StopRequest() as request:
            signal.raise_signal(number)
        assert not request.number
    with pytest.raises(Interrupted):
        signal.raise_signal(number)


def test_the_first_is_held_back_and_a_later_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    raise_on_signals()
    with pytest.raises(Interrupted) as raised, StopRequest() as request:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGTERM)  # at once: sent on by a launcher
        assert request.number == signal.SIGHUP
        monkeypatch.setattr(interrupt, "AGAIN_SECONDS", 0.0)
        signal.raise_signal(signal.SIGINT)
    assert raised.value.number == signal.SIGINT
    with pytest.raises(Interrupted):  # and all are as before
        signal.raise_signal(signal.SIGTERM)


def test_a_loop_that_ends_without_looking_is_interrupted_after_it() -> None:
    with pytest.raises(Interrupted) as raised, StopRequest():
        signal.raise_signal(signal.SIGTERM)
    assert raised.value.number == signal.SIGTERM
    with pytest.raises(ValueError, match="this one"), StopRequest():  # which says more
        signal.raise_signal(signal.SIGTERM)
        raise ValueError("this one")


def test_other_threads_get_none() -> None:
    seen = []

    def work() -> None:
        with StopRequest() as request:
            seen.append(request.number)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [0]
