"""Simulated workers: the order of their actions on machines that are not there, by a queue of events."""

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from asr_parallel.parallel.asynchronous.leases import Leases
from asr_parallel.parallel.asynchronous.life import Life, Phase, Place


class Durations(Protocol):
    """How long actions take; the same arguments always give the same number.

    transfer: seconds that the bytes of a model take at the center's port.
    """

    @property
    def transfer(self) -> float: ...

    def minibatches(self, worker: int, first: int, count: int) -> float:
        """Return seconds of a worker's minibatches first to first + count - 1, counted from its first."""

    def latency(self, worker: int, number: int) -> float:
        """Return seconds that a worker's message of this number takes beside its bytes."""


@dataclass(frozen=True, slots=True)
class Event:
    """An action that takes effect: a FETCH when the center is read, a PUSH when it is written, a STEP when it is done.

    seconds: since the beginning. count: minibatches of a STEP, from `place` on.
    """

    seconds: float
    worker: int
    phase: Phase
    place: Place | None = None
    count: int = 0


@dataclass
class Port:
    """One direction of the center's port, which serves one request after another.

    free: when the last request is served. ends: of the requests that are not served yet. queue: how often a request
    found so many others before it.
    """

    free: float = 0.0
    ends: list[float] = field(default_factory=list)
    queue: Counter[int] = field(default_factory=Counter)

    def serve(self, asked: float, seconds: float) -> float:
        """Return when a request begins to be served."""
        self.ends = [end for end in self.ends if end > asked]
        self.queue[len(self.ends)] += 1
        begins = max(asked, self.free)
        self.free = begins + seconds
        self.ends.append(self.free)
        return begins

    def state(self) -> dict[str, Any]:
        """Return JSON values for `load`."""
        return {"free": self.free, "ends": self.ends, "queue": {str(n): c for n, c in sorted(self.queue.items())}}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.free, self.ends = state["free"], list(state["ends"])
        self.queue = Counter({int(length): count for length, count in state["queue"].items()})


class Timeline:
    """The actions of K workers in their order. Only durations and leases decide it, and no model's numbers.

    A model that is sent occupies the center's port, which workers share: `out` in a FETCH, `into` in a PUSH. The center
    is read when a fetch begins to be served and written when a push has arrived; then the worker goes on.

    seconds: of the last action. compute, exchange: seconds of all workers in minibatches, and in messages without the
    wait for the port.
    """

    def __init__(
        self, exchange: tuple[Phase, Phase], period: int, leases: Leases, workers: int, durations: Durations,
        whole_periods: bool = False,
    ) -> None:  # fmt: skip
        """Let all workers join at 0.

        Args:
            exchange, period: see Life.
            whole_periods: whether a STEP is all minibatches of a lease, which is faster.
        """
        self.leases, self._durations, self._whole = leases, durations, whole_periods
        self._lives = [Life(exchange, period) for _ in range(workers)]
        self._steps, self._messages, self._arrives = [0] * workers, [0] * workers, [0.0] * workers
        self.out, self.into = Port(), Port()
        self.seconds = self.compute = self.exchange = 0.0
        self._sequence = 0
        self._heap: list[tuple[float, int, int, bool]] = []  # seconds, sequence, worker, whether a fetch has arrived
        for worker in range(workers):
            self._begin(worker, 0.0)

    def next_event(self) -> Event | None:
        """Return the next action, which `go_on` has to follow when it is done; None: all workers are done."""
        while self._heap:
            seconds, _, worker, arrived = heapq.heappop(self._heap)
            life = self._lives[worker]
            if arrived:
                life.advance(lambda worker=worker: self.leases.lease(worker))  # type: ignore[misc]
                self._begin(worker, seconds)
                continue
            self.seconds = seconds
            if life.phase != Phase.STEP:
                return Event(seconds, worker, life.phase)
            return Event(seconds, worker, life.phase, life.place, self._count(life))
        return None

    def go_on(self, event: Event) -> None:
        """Let a worker go on after an action; after a PUSH, when `leases` has been told."""
        worker, life = event.worker, self._lives[event.worker]
        if event.phase == Phase.FETCH:
            self._schedule(self._arrives[worker], worker, arrived=True)
            return
        life.advance(lambda: self.leases.lease(worker), event.count)
        self._begin(worker, event.seconds)

    def run(self) -> Iterator[Event]:
        """Yield all actions that are left, done as soon as they are yielded."""
        while (event := self.next_event()) is not None:
            if event.phase == Phase.PUSH:
                self.leases.pushed(event.worker)
            self.go_on(event)
            yield event

    def _count(self, life: Life) -> int:
        assert life.lease is not None
        return min(life.period - life.steps, life.lease.count - life.done) if self._whole else 1

    def _begin(self, worker: int, now: float) -> None:
        """Schedule the effect of a worker's next action."""
        life, durations = self._lives[worker], self._durations
        if life.phase == Phase.DONE:
            return
        if life.phase == Phase.STEP:
            count = self._count(life)
            seconds = durations.minibatches(worker, self._steps[worker], count)
            self._steps[worker] += count
            self.compute += seconds
            self._schedule(now + seconds, worker)
            return
        latency = durations.latency(worker, self._messages[worker])
        self._messages[worker] += 1
        self.exchange += latency + durations.transfer
        if life.phase == Phase.FETCH:  # a request on the way, the model on the way back
            served = self.out.serve(now + latency, durations.transfer)
            self._arrives[worker] = served + durations.transfer + latency
            self.exchange += latency
            self._schedule(served, worker)
        else:
            self._schedule(self.into.serve(now, durations.transfer) + durations.transfer + latency, worker)

    def _schedule(self, seconds: float, worker: int, arrived: bool = False) -> None:
        heapq.heappush(self._heap, (seconds, self._sequence, worker, arrived))
        self._sequence += 1

    def state(self) -> dict[str, Any]:
        """Return JSON values for `load`, those of `leases` too."""
        numbers = {name: getattr(self, name) for name in ("seconds", "compute", "exchange", "_sequence")}
        lists = {name: list(getattr(self, name)) for name in ("_steps", "_messages", "_arrives")}
        return {
            **numbers, **lists, "heap": [list(entry) for entry in self._heap], "out": self.out.state(),
            "into": self.into.state(), "lives": [life.state() for life in self._lives], "leases": self.leases.state(),
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned; ValueError when it is of another number of workers."""
        self.leases.load(state["leases"])
        for name in ("seconds", "compute", "exchange", "_sequence", "_steps", "_messages", "_arrives"):
            setattr(self, name, state[name])
        self._heap = [(seconds, sequence, worker, arrived) for seconds, sequence, worker, arrived in state["heap"]]
        self.out.load(state["out"])
        self.into.load(state["into"])
        for life, of_one in zip(self._lives, state["lives"], strict=True):
            life.load(of_one)

    def stats(self) -> dict[str, Any]:
        """Return statistics as JSON values: seconds, and how often a request found so many others before it."""
        return {
            "modelled_seconds": self.seconds, "fetch_queue": self.out.state()["queue"],
            "push_queue": self.into.state()["queue"],
        }  # fmt: skip
