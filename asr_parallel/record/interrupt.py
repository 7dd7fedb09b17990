"""Signals that end a run: Ctrl-C, SIGTERM, and SIGHUP, which comes when a terminal goes away."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A second signal within this time is taken for a repetition: a terminal sends Ctrl-C to all its processes, and a
# launcher then forwards it to its children
AGAIN_SECONDS = 5.0


class Interrupted(KeyboardInterrupt):
    """A signal has asked the program to end.

    number: the signal. text: the final message; None: the default, "": none, as another process prints one.
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
    """Ignore SIGNALS during a cleanup that must not be interrupted."""
    before = [(number, signal.signal(number, signal.SIG_IGN)) for number in SIGNALS]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


class StopRequest:
    """Deferral of the first of SIGNALS to a loop that checks `number` where it can stop; a later one raises.

    number: the signal received, 0 if none. If the loop ends without stopping for it, Interrupted is raised at the end.
    Threads other than the main one receive no signals; there it stays 0.
    """

    def __init__(self) -> None:
        self.number = 0
        self._received_at = 0.0
        self._before: list[tuple[signal.Signals, Any]] = []

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            caught = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._before = [(number, signal.signal(number, self._handle)) for number in caught]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)
        if kind is None and self.number:
            raise Interrupted(self.number)

    def _handle(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if not self.number:
            self.number, self._received_at = number, now
        elif now - self._received_at > AGAIN_SECONDS:
            raise Interrupted(number)
