"""A process's and a worker's connection to the server of an asynchronous run."""

import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr_parallel.parallel.asynchronous.center import Fetched
from asr_parallel.parallel.asynchronous.connection import octets_of
from asr_parallel.parallel.asynchronous.life import Lease
from asr_parallel.parallel.asynchronous.messages import (
    BLOCK_BYTES,
    CHECKSUM_BYTES,
    HEADER_BYTES,
    NO_SUMS,
    NO_WORKER,
    SMALL_BYTES,
    Digest,
    Header,
    Kind,
    Outgoing,
    ProtocolError,
    json_body,
    json_value,
    unpacked,
)
from asr_parallel.parallel.asynchronous.service import MEASURED, Plan, RefusedError, packed_tensors, unpacked_tensors
from asr_parallel.parallel.transport import LostError

ALIVE_SHARE = 0.25  # of the timeout, between two signs of life of who computes


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server of a run is, and the run's key. See run_file.py."""

    host: str
    port: int
    key: bytes


class Client:
    """A connection to the server: a request, then its reply. A push is not waited for before the next request.

    rank, worker: of the process, and the worker's number, or NO_WORKER.
    version, frames: of the center, as the last reply had them.
    timeout: seconds without an answer after which the server counts as lost.
    """

    def __init__(self, address: Address, rank: int, program: str, timeout: float, worker: int = NO_WORKER) -> None:
        """Connect.

        Args:
            program: version of the program.
            timeout: in seconds.

        Raises:
            LostError: nobody is there.
            ValueError: the server refuses this process; says why.
        """
        self.rank, self.worker = rank, worker
        self.version = self.frames = 0
        self._key, self.timeout = address.key, timeout
        self._sequence, self._unanswered = 0, 0
        self._sending = threading.Lock()  # signs of life come from a thread of their own
        self._head, self._tail = bytearray(HEADER_BYTES), bytearray(CHECKSUM_BYTES)
        try:
            self._sock = socket.create_connection((address.host, address.port), timeout)
        except OSError as error:
            raise self._lost(error) from error
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.settimeout(None)  # the system's timeouts instead of Python's, which ask twice for every piece
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(timeout), int(timeout % 1 * 1e6)))
        try:
            self._ask(Kind.HELLO, json_body({"rank": rank, "version": program}), Kind.WELCOME)
        except BaseException:
            self._sock.close()
            raise

    def call(self, name: str, arguments: Any = None) -> Any:
        """Return the server's answer to a small question; see service.py."""
        return json_value(self._ask(Kind.CALL, json_body({"call": name, "arguments": arguments}), Kind.VALUE))

    def begin(self, plan: Plan, tensors: Mapping[str, Tensor]) -> None:
        """Give the server a center to start from, as the tensors of its state; rank 0 alone may."""
        self._ask(Kind.BEGIN, packed_tensors(asdict(plan), tensors), Kind.VALUE)

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return the state of the center and of the leases as JSON values and tensors; rank 0 alone may."""
        return unpacked_tensors(self._ask(Kind.SAVE, json_body(None), Kind.STATE))

    def fetch_into(self, params: Tensor) -> None:
        """Fetch the center's model into a (P,) float32 tensor on the CPU; sets `version` and `frames`.

        A worker gets the model that it is to have, a process without worker the one to be evaluated.
        """
        self._ask(Kind.FETCH, np.empty(0, np.uint8), Kind.MODEL, octets_of(params))

    def push(
        self, message: Tensor, version: int, frames: int, measured: Mapping[str, float] = MappingProxyType({})
    ) -> None:
        """Send (P,) float32 on the CPU; what the server says of it is raised by the next request.

        Args:
            version: of the center that the message is from.
            frames: trained on since the last push.
            measured: sums over them by name, of service.MEASURED.
        """
        self._settle()
        sums = tuple(measured.get(name, 0.0) for name in MEASURED)
        self._unanswered = self._send(Kind.PUSH, octets_of(message), version, frames, sums)

    def lease(self) -> dict[str, Any]:
        """Return the server's offer of what to train on."""
        return dict(json_value(self._ask(Kind.LEASE, json_body(None), Kind.LEASED)))

    def show_life(self) -> None:
        """Send a sign of life; from another thread, too."""
        self._send(Kind.ALIVE, np.empty(0, np.uint8))

    def leave(self) -> None:
        """Say goodbye, so that the server does not count this connection as lost."""
        try:
            self._ask(Kind.LEAVE, json_body(None), Kind.GOODBYE)
        finally:
            self._sock.close()

    def close(self) -> None:
        """End the connection without a word."""
        self._sock.close()

    def _ask(self, kind: Kind, body: np.ndarray, expected: Kind, into: np.ndarray | None = None) -> np.ndarray:
        self._settle()
        return self._reply(self._send(kind, body), expected, into)

    def _settle(self) -> None:
        """Wait for the answer to a push, if there was one."""
        if self._unanswered:
            sequence, self._unanswered = self._unanswered, 0
            self._reply(sequence, Kind.APPLIED, None)

    def _send(
        self, kind: Kind, body: np.ndarray, version: int = 0, frames: int = 0, sums: tuple[float, ...] = NO_SUMS
    ) -> int:
        """Send a request; return its sequence number."""
        with self._sending:
            self._sequence += 1
            header = Header(kind, self.worker, self._sequence, version, frames, sums=sums)
            outgoing = Outgoing(header, self._key, body)
            try:
                while (view := outgoing.next_view()) is not None:
                    self._sock.sendall(view)
            except OSError as error:
                if kind is Kind.ALIVE:
                    raise self._lost(error) from error
                raise self._refusal_or_lost(error) from error
            return self._sequence

    def _reply(self, sequence: int, expected: Kind, into: np.ndarray | None) -> np.ndarray:
        """Read a reply; a model goes `into` memory of its size."""
        try:
            self._receive(memoryview(self._head), None)
            limits = {expected: SMALL_BYTES if into is None else len(into), Kind.REFUSED: SMALL_BYTES}
            if expected is Kind.STATE:
                limits[expected] = 1 << 62  # the server is trusted
            header = unpacked(bytes(self._head), self._key, limits)
            fits = into is not None and header.kind is expected
            if fits and header.size != limits[expected]:
                raise ProtocolError(f"{header.size} bytes of {expected.name}; expected {limits[expected]}")
            body = into if fits and into is not None else np.empty(header.size, np.uint8)
            digest = Digest(bytes(self._head), body)
            self._receive(body.data, digest)
            self._receive(memoryview(self._tail), None)
            digest.check(bytes(self._tail))
        except (OSError, ProtocolError) as error:
            raise self._lost(error) from error
        if header.kind is Kind.REFUSED:
            raise RefusedError(f"rank {self.rank}: the server refuses: {json_value(body)}")
        if header.sequence != sequence:
            raise self._lost(f"a reply to request {header.sequence}; expected to {sequence}")
        if expected in (Kind.MODEL, Kind.APPLIED, Kind.LEASED):
            self.version, self.frames = header.version, header.frames
        return body

    def _receive(self, view: memoryview, digest: Digest | None) -> None:
        received = 0
        while received < len(view):
            piece = view[received : received + BLOCK_BYTES]
            count = self._sock.recv_into(piece, len(piece), socket.MSG_WAITALL)
            if not count:
                raise ConnectionResetError("the server has closed the connection")
            received += count
            if digest is not None:
                digest.update(received)

    def _refusal_or_lost(self, error: OSError) -> Exception:
        """Return what the server said before it closed the connection, if it did."""
        try:
            self._reply(self._sequence, Kind.REFUSED, None)
        except RefusedError as refusal:
            return refusal
        except LostError as lost:
            return lost
        return self._lost(error)

    def _lost(self, reason: object) -> LostError:
        who = f"rank {self.rank}" if self.worker == NO_WORKER else f"rank {self.rank}, worker {self.worker}"
        return LostError(f"{who}: the server of the run is lost ({reason})")


class RemoteCenter:
    """The center of a server and its leases as the workers of this process see them; a connection each.

    A thread shows the server that this process runs, however long a minibatch takes.

    stopping: the signal for which the server has asked to stop, or 0.
    waiting: whether minibatches of other workers may come back yet.
    measured: of each worker, what it has measured since its last push, by name; see service.py.
    """

    def __init__(self, connect: Callable[[int], Client], workers: Sequence[int], like: Tensor) -> None:
        """Connect each worker.

        Args:
            connect: return the connection of a worker.
            like: (P,) float32 on the device where models are wanted.
        """
        self.clients = {worker: connect(worker) for worker in workers}
        self.stopping, self.waiting = 0, False
        self.measured: dict[int, dict[str, float]] = {worker: {} for worker in workers}
        pinned = like.device.type == "cuda"
        self._received = torch.empty(len(like), dtype=torch.float32, pin_memory=pinned)
        self._params = torch.empty_like(like) if pinned else self._received
        self._ended = threading.Event()
        period = ALIVE_SHARE * min(client.timeout for client in self.clients.values())
        self._thread = threading.Thread(target=self._show_life, args=(period,), name="signs of life", daemon=True)
        self._thread.start()

    def fetch(self, worker: int) -> Fetched:
        client = self.clients[worker]
        client.fetch_into(self._received)
        if self._params is not self._received:
            self._params.copy_(self._received)
        return Fetched(self._params, client.version, client.frames)

    def push(self, worker: int, message: Tensor, version: int, frames: int) -> None:
        measured, self.measured[worker] = self.measured[worker], {}
        self.clients[worker].push(message.cpu(), version, frames, measured)

    def lease(self, worker: int) -> Lease | None:
        offer = self.clients[worker].lease()
        self.stopping, self.waiting = self.stopping or offer["stop"], offer["wait"]
        return None if offer["lease"] is None else Lease(*offer["lease"])

    def leave(self) -> None:
        """Say goodbye for all workers."""
        self.end_signs()
        for client in self.clients.values():
            client.leave()

    def end_signs(self) -> None:
        """Give no more signs of life."""
        self._ended.set()
        self._thread.join()

    def _show_life(self, period: float) -> None:
        while not self._ended.wait(period):
            try:
                for client in self.clients.values():
                    client.show_life()
            except LostError:  # whoever asks for something next is told
                return
