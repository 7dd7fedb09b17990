"""The notices that processes of an asynchronous run leave each other at the server."""

import time
from dataclasses import dataclass, field
from typing import Any

from asr_parallel.parallel.asynchronous.client import Address, Client, RemoteCenter
from asr_parallel.parallel.transport import TIMEOUT_SECONDS, LostError

POLL_SECONDS = 0.05  # between two looks at whether rank 0 has written


@dataclass
class ServedRun:
    """A process's part in a run with a server.

    rank, size: this process's number, and how many there were to be; not all need come.
    client: its connection.
    """

    rank: int
    size: int
    address: Address
    client: Client
    program: str
    timeout: float = TIMEOUT_SECONDS
    _turn: int = 0
    _began: float = field(default_factory=time.monotonic)

    def broadcast_object(self, value: Any, seconds: float | None = None) -> Any:
        """Return rank 0's JSON value, in every process, also in one that comes later.

        Raises:
            LostError: rank 0 wrote none in so many seconds, the run's timeout unless given.
        """
        self._turn += 1
        name, seconds = f"broadcast {self._turn}", seconds or self.timeout
        if self.rank == 0:
            self.client.call("put", {"name": name, "value": value})
            return value
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.client.call("get", name)
            if found["there"]:
                return found["value"]
            time.sleep(POLL_SECONDS)
        raise LostError(f"rank {self.rank}: no answer of rank 0 within {seconds:g} s")

    def finish(self) -> None:
        """Leave; rank 0 waits for processes that have not come, as long as they may take, and ends the run."""
        if self.rank == 0:
            deadline = self._began + self.timeout
            while len(self.client.call("status")["ranks"]) < self.size and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            self.client.call("finish")
        self.client.leave()

    def center(self, workers: range, like: Any) -> RemoteCenter:
        """Return the center as these workers of this process see it; see RemoteCenter."""
        return RemoteCenter(
            lambda worker: Client(self.address, self.rank, self.program, self.timeout, worker), workers, like
        )
