"""Leases: which minibatches a worker trains on next."""

from collections.abc import Sequence
from dataclasses import astuple, replace
from typing import Any

from asr_parallel.parallel.asynchronous.life import Lease


class Leases:
    """Gives every minibatch of a training to one worker, in an order that follows from that of the requests.

    A worker first gets what its own share has left of the epoch, then some of the share that has most left: a slow
    worker slows nobody. The next epoch begins when all of the one before has been given out. What is out with a worker
    comes back when the worker is lost, until it has pushed.

    unread: minibatches that nobody will train on, because their worker was lost.
    """

    def __init__(self, counts: Sequence[int], epochs: int, period: int) -> None:
        """Start with all minibatches left.

        Args:
            counts: minibatches of each worker's share in an epoch.
            epochs: of the training.
            period: minibatches that a worker may have between two pushes.
        """
        assert counts and min(counts) >= 0 and sum(counts) > 0 and epochs > 0 and period > 0
        self._counts, self._epochs, self._period = list(map(int, counts)), epochs, period
        self._epoch, self._given = 0, [0] * len(self._counts)  # of each share in this epoch
        self._out: list[list[Lease]] = [[] for _ in self._counts]  # of each worker since its last push
        self._returned: list[Lease] = []
        self._gone = [False] * len(self._counts)  # workers whose shares are not read without them
        self.unread = 0

    def lease(self, worker: int) -> Lease | None:
        """Return minibatches for a worker, as many as it may train on before its next push at most; None: all are out.

        Raises:
            ValueError: the worker has as many as it may have, and has to push first.
        """
        most = self._period - sum(lease.count for lease in self._out[worker])
        if most < 1:
            raise ValueError(f"worker {worker}: {self._period} minibatches are out with it; expected a push first")
        lease = self._back(most) or self._next(worker, most)
        if lease is not None:
            self._out[worker].append(lease)
        return lease

    def pushed(self, worker: int) -> None:
        """Take note that the center has what a worker has learnt of its minibatches."""
        self._out[worker].clear()

    def lost(self, worker: int, hand_over: bool = True) -> None:
        """Take back what is out with a worker.

        Args:
            hand_over: whether others are to train on it and on what its share has left; else it counts as unread until
                the worker joins again.
        """
        if hand_over:
            self._returned += self._out[worker]
        else:
            self.unread += sum(lease.count for lease in self._out[worker])
            self._gone[worker] = True
        self._out[worker].clear()

    def joined(self, worker: int) -> None:
        """Take note that a worker is there (again)."""
        self._gone[worker] = False

    @property
    def all_given(self) -> bool:
        """True when nothing is left to be given out, as long as no worker is lost."""
        return not self._returned and self._epoch == self._epochs

    def _back(self, most: int) -> Lease | None:
        """Return some of what lost workers had."""
        if not self._returned:
            return None
        lease = self._returned.pop(0)
        if lease.count > most:
            self._returned.insert(0, replace(lease, first=lease.first + most, count=lease.count - most))
        return replace(lease, count=min(lease.count, most))

    def _next(self, worker: int, most: int) -> Lease | None:
        while self._epoch < self._epochs:
            share = worker if self._left(worker) else max(range(len(self._counts)), key=self._left)
            if left := self._left(share):
                lease = Lease(share, self._epoch, self._given[share], min(most, left))
                self._given[share] += lease.count
                return lease
            self.unread += sum(self._counts) - sum(self._given)
            self._epoch, self._given = self._epoch + 1, [0] * len(self._counts)
        return None

    def _left(self, share: int) -> int:
        """Return what a share has left of the epoch to be given out."""
        return 0 if self._gone[share] else self._counts[share] - self._given[share]

    def state(self) -> dict[str, Any]:
        """Return JSON values for `load`."""
        return {
            "epoch": self._epoch, "given": list(self._given), "gone": list(self._gone), "unread": self.unread,
            "out": [[list(astuple(lease)) for lease in leases] for leases in self._out],
            "returned": [list(astuple(lease)) for lease in self._returned],
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned; ValueError when it is of another number of workers."""
        if len(state["given"]) != len(self._given):
            raise ValueError(f"leases of {len(state['given'])} workers: expected {len(self._given)}")
        self._epoch, self._given, self._gone = state["epoch"], list(state["given"]), list(state["gone"])
        self._out = [[Lease(*lease) for lease in leases] for leases in state["out"]]
        self._returned = [Lease(*lease) for lease in state["returned"]]
        self.unread = state["unread"]
