"""The order of a worker's actions, without their arithmetic."""

from collections.abc import Callable
from dataclasses import astuple, dataclass
from enum import IntEnum
from typing import Any


class Phase(IntEnum):
    """The actions of a worker."""

    FETCH = 0  # read the center
    PUSH = 1  # send a message to it
    STEP = 2  # train on a minibatch
    DONE = 3


@dataclass(frozen=True, slots=True)
class Lease:
    """Minibatches first to first + count - 1 of a share's epoch."""

    share: int
    epoch: int
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Place:
    """A minibatch: its share, epoch and index in it."""

    share: int
    epoch: int
    index: int


@dataclass
class Life:
    """A worker's life: FETCH to join, then minibatches, and after every `period` of them an exchange.

    It ends with an exchange when no minibatches are left.

    exchange: order of its two halves, FETCH and PUSH.
    phase: of the next action.
    steps: minibatches since the last exchange.
    lease, done: minibatches to train on, and how many of them are trained on.
    joined: whether the center has been fetched once.
    """

    exchange: tuple[Phase, Phase]
    period: int
    phase: Phase = Phase.FETCH
    steps: int = 0
    lease: Lease | None = None
    done: int = 0
    joined: bool = False

    @property
    def place(self) -> Place:
        """The minibatch of the next STEP."""
        assert self.phase == Phase.STEP and self.lease is not None
        return Place(self.lease.share, self.lease.epoch, self.lease.first + self.done)

    def advance(self, next_lease: Callable[[], Lease | None], count: int = 1) -> None:
        """Go on to the next phase, when the action of the present one is done.

        Args:
            next_lease: return the next minibatches to train on, None when none are left.
            count: minibatches of a STEP.
        """
        assert self.phase != Phase.DONE
        if self.phase == Phase.STEP:
            self.steps, self.done = self.steps + count, self.done + count
            assert self.lease is not None
            if self.steps == self.period:
                self.phase = self.exchange[0]
            elif self.done == self.lease.count:
                self._take(next_lease())
        elif self.joined and self.phase == self.exchange[0]:
            self.phase = self.exchange[1]
        else:
            self.joined, self.steps = True, 0
            self._take(next_lease())

    def go_on(self, lease: Lease) -> None:
        """Train on after the end, on minibatches of a worker that was lost."""
        assert self.phase == Phase.DONE
        self._take(lease)

    def _take(self, lease: Lease | None) -> None:
        self.lease, self.done = lease, 0
        if lease is not None:
            self.phase = Phase.STEP
        else:
            self.phase = self.exchange[0] if self.steps else Phase.DONE

    def state(self) -> dict[str, Any]:
        """Return JSON values for `load`."""
        lease = None if self.lease is None else list(astuple(self.lease))
        return {
            "phase": int(self.phase), "steps": self.steps, "lease": lease, "done": self.done, "joined": self.joined,
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.phase, self.steps, self.done, self.joined = (
            Phase(state["phase"]), state["steps"], state["done"], state["joined"],
        )  # fmt: skip
        self.lease = None if state["lease"] is None else Lease(*state["lease"])
