"""A server in a thread, whose center adds up what is pushed; and messages as a stranger would send them."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr_parallel.parallel.asynchronous.center import Center
from asr_parallel.parallel.asynchronous.client import Address, Client
from asr_parallel.parallel.asynchronous.messages import CHECKSUM_BYTES, HEADER_BYTES, NO_WORKER, Header, Kind, Outgoing
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


def raw(address: Address, worker: int = -1, rank: int = 1) -> socket.socket:
    """A connection whose messages a test makes itself, which has said who it is."""
    sock = socket.create_connection((address.host, address.port), SECONDS)
    send(sock, Header(Kind.HELLO, worker, 1), b'{"rank": %d, "version": "1.0"}' % rank)
    assert answer(sock)[0] == Kind.WELCOME
    return sock


def send(sock: socket.socket, header: Header, body: bytes, key: bytes = KEY) -> None:
    sock.sendall(packed(header, np.frombuffer(body, np.uint8), key))


def packed(header: Header, body: np.ndarray, key: bytes = KEY) -> bytes:
    outgoing, views = Outgoing(header, key, body), []
    while (view := outgoing.next_view()) is not None:
        views.append(bytes(view))
    return b"".join(views)


def answer(sock: socket.socket) -> tuple[int, bytes]:
    """Kind and body of the reply; 0 when the connection has ended."""

    def take(count: int) -> bytes:
        taken = b""
        while len(taken) < count:
            piece = sock.recv(count - len(taken))
            if not piece:
                raise ConnectionResetError
            taken += piece
        return taken

    try:
        head = take(HEADER_BYTES)
        body = take(int.from_bytes(head[-8:], "little"))
        take(CHECKSUM_BYTES)
        return head[6], body
    except ConnectionResetError:
        return 0, b""


def answer_or_reset(sock: socket.socket) -> tuple[int, bytes]:
    try:
        return answer(sock)
    except OSError:
        return 0, b""


def wait_for(main: Client, holds: Callable[[Any], bool]) -> None:
    give_up = time.monotonic() + SECONDS
    while not holds(main.call("status")):
        assert time.monotonic() < give_up
        time.sleep(0.01)
