"""The center as a worker reaches it, in its own process or in another."""

from typing import Protocol

from torch import Tensor

from asr_parallel.parallel.asynchronous.center import Center, Fetched
from asr_parallel.parallel.asynchronous.leases import Leases
from asr_parallel.parallel.asynchronous.life import Lease


class CenterPort(Protocol):
    """The center as workers reach it."""

    def fetch(self, worker: int) -> Fetched:
        """Return the model that a worker is to have now."""

    def push(self, worker: int, message: Tensor, version: int, frames: int) -> None:
        """Send a message; see Center.push."""

    def lease(self, worker: int) -> Lease | None:
        """Return minibatches for a worker; see Leases.lease."""


class LocalPort:
    """A center and leases in this process."""

    def __init__(self, center: Center, leases: Leases) -> None:
        self.center, self.leases = center, leases

    def fetch(self, worker: int) -> Fetched:
        return self.center.fetch()

    def push(self, worker: int, message: Tensor, version: int, frames: int) -> None:
        self.center.push(message, version, frames)
        self.leases.pushed(worker)

    def lease(self, worker: int) -> Lease | None:
        return self.leases.lease(worker)
