"""A server in a thread, with a center that adds up what is pushed; and messages as a stranger would send them."""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr_parallel.parallel.asynchronous.client import Address, Client
from asr_parallel.parallel.asynchronous.messages import NO_WORKER
from asr_parallel.parallel.asynchronous.server import Server
from asr_parallel.parallel.asynchronous.service import Run
from asr_parallel.parallel.state import State

KEY = bytes(range(16))
SECONDS = 20.0


class Sums:
    """x~ += message."""

    def __init__(self, params: Tensor) -> None:
        self.params, self.version, self.frames = params, 0, 0

    def fetch(self) -> Any:
        return SimpleNamespace(params=self.params, version=self.version, frames=self.frames)

    def push(self, message: Tensor, version: int, frames: int) -> None:
        self.params += message
        self.version, self.frames = self.version + 1, self.frames + frames

    def state_dict(self) -> State:
        return State({"params": self.params}, values={"version": self.version, "frames": self.frames})


class Numbers:
    """Leases of one minibatch after the other."""

    def __init__(self, count: int) -> None:
        self.left, self.held = list(range(count)), dict[int, int]()

    def lease(self, worker: int) -> list[int] | None:
        self.held.pop(worker, None)
        if not self.left:
            return None
        self.held[worker] = self.left.pop(0)
        return [worker, 0, self.held[worker], 1]

    def lost(self, worker: int) -> None:
        if worker in self.held:
            self.left.insert(0, self.held.pop(worker))

    def state_dict(self) -> State:
        return State(values={"left": self.left})


def begin(described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Run:
    params = tensors["params"].clone()
    return Run(Sums(params), Numbers(described["minibatches"]), len(params), described["workers"])


@contextmanager
def serving(timeout: float = SECONDS, version: str = "1.0") -> Iterator[tuple[Server, Address]]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = Server(listening, KEY, begin, version, timeout)
    address = Address("127.0.0.1", listening.getsockname()[1], KEY)
    there = True
    thread = threading.Thread(target=lambda: server.serve(lambda: there), daemon=True)
    thread.start()
    try:
        yield server, address
    finally:
        there = False
        thread.join(SECONDS)
        assert not thread.is_alive()


def client(address: Address, rank: int = 0, worker: int = NO_WORKER, version: str = "1.0") -> Client:
    return Client(address, rank, version, SECONDS, worker)


def begun(address: Address, size: int, minibatches: int = 3, workers: int = 4) -> Client:
    """Rank 0, which has begun a run from zeros."""
    main = client(address)
    main.begin({"minibatches": minibatches, "workers": workers}, {"params": torch.zeros(size)})
    return main


def fetched(of: Client, size: int) -> Tensor:
    params = torch.full((size,), np.nan)
    of.fetch_into(params)
    return params
