"""Signals that end a run: Ctrl-C, SIGTERM, and SIGHUP, which comes when a terminal goes away."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A signal within so many seconds of the first is taken for the same one: a terminal sends Ctrl-C to all its processes,
# and a launcher then sends it on to those that it has started
AGAIN_SECONDS = 5.0


class Interrupted(KeyboardInterrupt):
    """A signal has asked the program to end.

    number: of the signal; text: what to say at last: None: the usual, "": nothing, another process does.
    """

    def __init__(self, number: int, text: str | None = None) -> None:
        super().__init__(text)
        self.number, self.text = int(number), text


def raise_on_signals() -> None:
    """Let each of SIGNALS raise Interrupted, except those that were ignored from the start (nohup)."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raise)


def _raise(number: int, _: FrameType | None) -> None:
    raise Interrupted(number)


@contextmanager
def signals_ignored() -> Iterator[None]:
    """Ignore SIGNALS, while something is put in order that must not be cut off."""
    before = [(number, signal.signal(number, signal.SIG_IGN)) for number in SIGNALS]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


class StopRequest:
    """Holds back the first of SIGNALS, for a loop that looks at `number` where it can stop; another one later raises.

    number: of the signal that came, 0 while none has. A loop that ends before it has looked ends in Interrupted.
    In other threads than the main one, which get no signals, it stays 0.
    """

    def __init__(self) -> None:
        self.number = 0
        self._came = 0.0
        self._before: list[tuple[signal.Signals, Any]] = []

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            caught = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._before = [(number, signal.signal(number, self._take)) for number in caught]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)
        if kind is None and self.number:
            raise Interrupted(self.number)

    def _take(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if not self.number:
            self.number, self._came = number, now
        elif now - self._came > AGAIN_SECONDS:
            raise Interrupted(number)
