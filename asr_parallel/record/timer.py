"""Seconds of a process by phase; at any moment exactly one phase runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


# Phases of a round: local training, exchange of models (with the wait for others), labelling, compression, other
LOCAL, EXCHANGE, LABEL, COMPRESS, OTHER = PHASES = ("local", "exchange", "label", "compress", "other")


class Timer:
    """Measures seconds by phase. Queued work of a GPU is waited for when a phase ends.

    total: since this was made, by phase.
    now: the current phase.
    """

    def __init__(self, device: torch.device, first: str, *others: str) -> None:
        self.total = dict.fromkeys((first, *others), 0.0)
        self._reported: dict[str, float] = {}
        self._device, self.now, self._since = device, first, time.monotonic()

    def enter(self, phase: str) -> None:
        """Start another phase, or go on with the same."""
        if self._device.type == "cuda" and phase != self.now:
            import torch

            torch.cuda.synchronize(self._device)
        now = time.monotonic()
        self.total[self.now] = self.total.get(self.now, 0.0) + now - self._since
        self.now, self._since = phase, now

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Enter a phase, and the one before it at the end."""
        before = self.now
        self.enter(phase)
        try:
            yield
        finally:
            self.enter(before)

    def lap(self) -> dict[str, float]:
        """Return seconds by phase since the last lap."""
        self.enter(self.now)
        lap = {phase: seconds - self._reported.get(phase, 0.0) for phase, seconds in self.total.items()}
        self._reported = dict(self.total)
        return lap


class NoTimer:
    """A timer that measures nothing and waits for nothing."""

    def during(self, phase: str) -> AbstractContextManager[None]:
        """Return a context without effect."""
        return nullcontext()
