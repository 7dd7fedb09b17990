"""Where the time of a training goes: to exactly one phase at a time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Timer:
    """Seconds by phase, of one process; work that a GPU has not done yet is waited for when a phase ends.

    total: since this was made; of every phase that was named or was.
    """

    def __init__(self, device: torch.device, first: str, *others: str) -> None:
        self.total = dict.fromkeys((first, *others), 0.0)
        self._told: dict[str, float] = {}
        self._device, self.now, self._since = device, first, time.monotonic()

    def enter(self, phase: str) -> None:
        """Another phase begins, or the same goes on."""
        if self._device.type == "cuda" and phase != self.now:
            torch.cuda.synchronize(self._device)
        now = time.monotonic()
        self.total[self.now] = self.total.get(self.now, 0.0) + now - self._since
        self.now, self._since = phase, now

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """A phase in between."""
        before = self.now
        self.enter(phase)
        try:
            yield
        finally:
            self.enter(before)

    def lap(self) -> dict[str, float]:
        """Seconds by phase since the last lap."""
        self.enter(self.now)
        lap = {phase: seconds - self._told.get(phase, 0.0) for phase, seconds in self.total.items()}
        self._told = dict(self.total)
        return lap
