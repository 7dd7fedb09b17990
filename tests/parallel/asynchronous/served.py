"""A server in a thread, whose center adds up what is pushed; and messages as a stranger would send them."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from asr_parallel.parallel.asynchronous.center import Center
from asr_parallel.parallel.asynchronous.client import Address, Client
from asr_parallel.parallel.asynchronous.messages import NO_WORKER
from asr_parallel.parallel.asynchronous.server import Server
from asr_parallel.parallel.asynchronous.service import Plan

KEY = bytes(range(16))
SECONDS = 20.0


@contextmanager
def serving(timeout: float = SECONDS, version: str = "1.0") -> Iterator[tuple[Server, Address]]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = Server(listening, KEY, version, timeout)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server, Address("127.0.0.1", listening.getsockname()[1], KEY)
    finally:
        server._timeout, server.service.finished = 0.0, True
        thread.join(SECONDS)
        assert not thread.is_alive()


def client(address: Address, rank: int = 0, worker: int = NO_WORKER, version: str = "1.0") -> Client:
    return Client(address, rank, version, SECONDS, worker)


def begun(
    address: Address, size: int, minibatches: int = 3, workers: int = 4, hand_over: bool = True, period: int = 1
) -> Client:
    """Rank 0, which has begun a run from zeros. minibatches: of each worker."""
    main, zeros = client(address), torch.zeros(size)
    center = dict(Center(zeros).state_dict().values)
    plan = Plan("downpour", {}, [minibatches] * workers, 1, period, hand_over, center, None, {})
    main.begin(plan, {"params": zeros})
    return main


def fetched(of: Client, size: int) -> Tensor:
    params = torch.full((size,), np.nan)
    of.fetch_into(params)
    return params
