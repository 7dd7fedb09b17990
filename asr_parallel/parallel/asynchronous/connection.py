"""The server's end of a connection: messages come in and go out piece by piece, and nobody is waited for."""

import socket
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from asr_parallel.parallel.asynchronous.messages import (
    CHECKSUM_BYTES,
    HEADER_BYTES,
    NO_WORKER,
    Digest,
    Header,
    Kind,
    Outgoing,
    ProtocolError,
    json_body,
    unpacked,
)

PIECE_BYTES = 1 << 22  # received or sent at once, before others have their turn
LEAST_BYTES = 1 << 19  # that have come before a body is looked at again: a fraction of what the system buffers
VECTORS = frozenset({Kind.PUSH, Kind.MODEL})


class Connection:
    """A worker's or a process's connection to the server.

    It has one request at a time: while a reply is not sent whole, nothing more is read. So the memory of a connection
    is one body, the worker's push, and what is left of a model on its way when the center changes (`keep_own_copy`).

    worker, rank: who is at the other end, once it has said so.
    peer: its address, for the log.
    limits: largest body by kind of request; what is not in it is refused.
    accepted: monotonic seconds when it began.
    seen: monotonic seconds of the last sign of life: something has come, or was taken.
    """

    def __init__(self, sock: socket.socket, peer: str, key: bytes) -> None:
        """Take a connected socket, of which only HELLO is expected; `key` is the run's."""
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock, self.peer = sock, peer
        self.worker, self.rank = NO_WORKER, -1
        self.limits: Mapping[Kind, int] = {}
        self.accepted = self.seen = time.monotonic()
        self._key, self._sequence, self._least = key, 0, 1
        self._head = bytearray(HEADER_BYTES)
        self._header: Header | None = None
        self._received = 0  # bytes of the header, then of the body and its checksum
        self._body = np.empty(0, np.uint8)
        self._vector = np.empty(0, np.uint8)  # kept from push to push
        self._digest = Digest(b"", self._body)
        self._tail = bytearray(CHECKSUM_BYTES)
        self._outgoing: Outgoing | None = None
        self._view: memoryview | None = None  # of it, still to be sent
        self.borrows = False  # whether what is going out is memory of the center

    def __str__(self) -> str:
        """Return who is at the other end."""
        who = f"worker {self.worker} in rank {self.rank}" if self.worker >= 0 else f"rank {self.rank}"
        return f"{who} ({self.peer})" if self.rank >= 0 else self.peer

    @property
    def is_sending(self) -> bool:
        """True while a reply is on its way."""
        return self._outgoing is not None

    def receive(self) -> tuple[Header, np.ndarray] | None:
        """Read what has come, a piece at most.

        Returns:
            A request that is whole: its header, and its body, which is this connection's until the next one. None:
            more has to come.

        Raises:
            ProtocolError: what came is to be refused.
            ConnectionError: the other end is gone.
        """
        if self._header is None:
            self._received += self._read(memoryview(self._head)[self._received :])
            if self._received < HEADER_BYTES:
                return None
            self._header = unpacked(bytes(self._head), self._key, self.limits)
            self._expect(self._header)
        if self._received < self._header.size:
            view = self._body.data[self._received : self._received + PIECE_BYTES]
            self._received += self._read(view)
            self._digest.update(self._received)
            self._wait_for(self._header.size - self._received)
            if self._received < self._header.size:
                return None
        self._received += self._read(memoryview(self._tail)[self._received - self._header.size :])
        if self._received < self._header.size + CHECKSUM_BYTES:
            return None
        self._digest.check(bytes(self._tail))
        header, self._header, self._received = self._header, None, 0
        self._sequence = header.sequence
        return header, self._body

    def reply(self, header: Header, body: np.ndarray, borrows: bool = False) -> None:
        """Begin to send a reply; `borrows` when the body is memory that may change before it is sent."""
        assert self._outgoing is None
        self._outgoing, self.borrows = Outgoing(header, self._key, body), borrows
        self._view = self._outgoing.next_view()
        self.send()

    def refuse(self, reason: str) -> None:
        """Begin to say why a request is refused."""
        if self._outgoing is None:  # else the other end would take it for a part of that
            self.reply(Header(Kind.REFUSED, self.worker, self._sequence), json_body(reason))

    def send(self) -> None:
        """Send what the network takes, a piece at most."""
        budget = PIECE_BYTES
        while self._view is not None and budget > 0:
            try:
                sent = self.sock.send(self._view[:budget])
            except BlockingIOError:
                return
            budget -= sent
            self.seen = time.monotonic()
            self._view = self._view[sent:]
            if not self._view and self._outgoing is not None:
                self._view = self._outgoing.next_view()
        if self._view is None:
            self._outgoing, self.borrows = None, False

    def keep_own_copy(self) -> None:
        """Copy what is still to be sent, so that the memory it is in may change."""
        if self._outgoing is not None and self._view is not None:
            self._view = memoryview(bytes(self._view))
            self._outgoing.keep_copy()
        self.borrows = False

    def close(self) -> None:
        self._outgoing = self._view = None
        self.sock.close()

    def _wait_for(self, count: int) -> None:
        """Let `select` not report fewer bytes than these, or a piece, which saves looking at each as it comes."""
        least = max(1, min(count, LEAST_BYTES))
        if least != self._least:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, least)
            self._least = least

    def _read(self, into: memoryview) -> int:
        try:
            count = self.sock.recv_into(into)
        except BlockingIOError:
            return 0
        if not count and len(into):
            raise ConnectionResetError("closed")
        self.seen = time.monotonic()
        return count

    def _expect(self, header: Header) -> None:
        """Prepare for a body; ProtocolError when the header does not follow the last one."""
        self._received = 0
        if header.sequence != self._sequence + 1:
            raise ProtocolError(f"sequence number {header.sequence}; expected {self._sequence + 1}")
        if header.kind is not Kind.HELLO and header.worker != self.worker:
            raise ProtocolError(f"worker {header.worker} on a connection of worker {self.worker}")
        if header.kind in VECTORS:
            if header.size != self.limits[header.kind]:
                raise ProtocolError(f"{header.size} bytes of {header.kind.name}; expected {self.limits[header.kind]}")
            if len(self._vector) != header.size:
                self._vector = np.empty(header.size, np.uint8)
            self._body = self._vector
        else:
            self._body = np.empty(header.size, np.uint8)
        self._digest = Digest(bytes(self._head), self._body)


def octets_of(vector: Tensor) -> np.ndarray:
    """Return the (4 * P,) uint8 memory of a (P,) float32 tensor on the CPU."""
    octets: Any = vector.detach().contiguous().numpy().view(np.uint8)
    return np.asarray(octets)
