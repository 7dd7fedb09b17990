"""The server of an asynchronous run: a process that has the center and answers workers one by one.

A single thread looks at all connections, takes a piece of whatever has come, and answers requests that are whole. Who
is slow to send or to receive holds up nobody, because nothing is waited for. A worker has one request at a time.

Memory, for K workers and a model of P parameters, in bytes: at most

    4 P (c + 2 K + 1)

c is the number of vectors of the center: 1, 2 with an average, 3 with momentum. Each worker's connection has one push
coming in, and one model on its way out if the center has changed since it was fetched; rank 0's has such a model, too,
to be evaluated. While the state of the center is on its way, at the start and for checkpoints, there are 16 P c more.
"""

import selectors
import socket
import time
from collections.abc import Mapping
from contextlib import suppress

import numpy as np

from asr_parallel.parallel.asynchronous.connection import Connection
from asr_parallel.parallel.asynchronous.messages import (
    NO_RANK,
    NO_WORKER,
    SMALL_BYTES,
    Header,
    Kind,
    ProtocolError,
    StrangerError,
    json_body,
    json_value,
)
from asr_parallel.parallel.asynchronous.service import RefusedError, Service, log_refusal
from asr_parallel.record.log import logger

POLL_SECONDS = 0.2  # between two looks at who has not been heard of
BEGIN_BYTES = 1 << 40  # of rank 0, which has shown the key
MAX_STRANGERS = 64  # connections that have not said who they are; for another one the first of them has to go
HELLO_SECONDS = 10.0  # for saying who one is, which programs do at once: several retransmissions by TCP
SMALL = {kind: SMALL_BYTES for kind in (Kind.CALL, Kind.ALIVE, Kind.LEAVE)}


class Server:
    """Serves one run, until rank 0 has said that it is finished or is gone."""

    def __init__(self, listening: socket.socket, key: bytes, version: str, timeout: float) -> None:
        """Take what is needed; nothing is answered before `serve`.

        Args:
            listening: socket to accept connections from.
            key: of the run.
            version: of the program, which all must have.
            timeout: seconds without a sign of life after which a worker counts as lost.
        """
        self.service = Service()
        self._listening, self._key, self._version, self._timeout = listening, key, version, timeout
        self._selector = selectors.DefaultSelector()
        self._connections: set[Connection] = set()
        self._ended_at: float | None = None
        self._waiting = 0  # workers of whom something has come
        listening.setblocking(False)
        self._selector.register(listening, selectors.EVENT_READ)

    def serve(self) -> None:
        """Answer until the end; then connections are closed."""
        try:
            looked = time.monotonic()
            while not self._is_over():
                events = self._selector.select(POLL_SECONDS)
                now = time.monotonic()  # what has come until now is read before anybody counts as lost
                self._waiting = sum(key.data is not None and key.data.worker != NO_WORKER for key, _ in events)
                for key, mask in events:
                    if key.data is None:
                        self._accept()
                    else:
                        self._serve(key.data, mask)
                if now - looked > POLL_SECONDS:
                    looked = now
                    self._look_for_lost(now)
        finally:
            for connection in list(self._connections):
                self._close(connection)
            self._selector.close()
            self._listening.close()

    def _is_over(self) -> bool:
        """Tell whether rank 0 has finished and all have left, or have had the time to."""
        if self._ended_at is None:
            if self.service.finished:
                self._ended_at = time.monotonic()
            return False
        return not self._connections or time.monotonic() - self._ended_at > self._timeout

    def _accept(self) -> None:
        try:
            sock, address = self._listening.accept()
        except OSError as error:  # it has gone again
            logger.debug("accept: %s", error)
            return
        strangers = [one for one in self._connections if one.rank < 0]
        if len(strangers) >= MAX_STRANGERS:
            first = min(strangers, key=lambda one: one.accepted)
            log_refusal(first, f"more than {MAX_STRANGERS} connections that have not said who they are")
            self._close(first)
        connection = Connection(sock, f"{address[0]}:{address[1]}", self._key)
        connection.limits = {Kind.HELLO: SMALL_BYTES}
        self._connections.add(connection)
        self._selector.register(sock, selectors.EVENT_READ, connection)

    def _serve(self, connection: Connection, mask: int) -> None:
        if connection not in self._connections:
            return  # closed since
        try:
            if mask & selectors.EVENT_WRITE:
                connection.send()
            elif (request := connection.receive()) is not None:
                self._answer(connection, *request)
        except ProtocolError as error:
            self._refuse(connection, error)
        except OSError as error:
            logger.debug("%s: %s", connection, error)
            self._close(connection)
        if connection in self._connections:
            event = selectors.EVENT_WRITE if connection.is_sending else selectors.EVENT_READ
            self._selector.modify(connection.sock, event, connection)

    def _answer(self, connection: Connection, header: Header, body: np.ndarray) -> None:
        if header.kind is Kind.HELLO:
            self._welcome(connection, header, json_value(body))
        elif header.kind is Kind.LEAVE:
            connection.reply(Header(Kind.GOODBYE, header.worker, header.sequence), json_body(None))
            self.service.left(connection.worker)
            self._close(connection)
        elif header.kind is not Kind.ALIVE:
            if header.kind is Kind.PUSH:
                self.service.queue[max(1, self._waiting)] += 1
                for other in self._connections:
                    if other.borrows:
                        other.keep_own_copy()
            try:
                reply = self.service.answer(header, body, connection.rank)
            except RefusedError as error:
                log_refusal(connection, error)
                connection.refuse(str(error))
                return
            answer = Header(reply.kind, header.worker, header.sequence, reply.version, reply.frames)
            connection.reply(answer, reply.body, reply.borrows)
            if header.kind is Kind.BEGIN:
                for other in self._connections:
                    other.limits = self._limits(other)

    def _welcome(self, connection: Connection, header: Header, who: object) -> None:
        if not isinstance(who, Mapping) or not isinstance(who.get("rank"), int):
            raise ProtocolError(f"{str(who)[:200]}: expected who it is")
        rank, version = who["rank"], who.get("version")
        if version != self._version:
            raise ProtocolError(f"rank {rank} has version {version}, but the server has {self._version}")
        if rank == 0 and header.worker == NO_WORKER and any(map(_is_main, self._connections)):
            raise ProtocolError("rank 0 is here already")
        if header.worker != NO_WORKER:
            if self.service.run is None or not 0 <= header.worker < self.service.run.workers:
                raise ProtocolError(f"worker {header.worker}: not of this run, or it has not begun")
            if header.worker in self.service.here:
                raise ProtocolError(f"worker {header.worker} of rank {rank}: is here already")
            self.service.joined(header.worker)
        connection.rank, connection.worker = rank, header.worker
        if rank != NO_RANK:
            self.service.ranks.add(rank)
        connection.limits = self._limits(connection)
        connection.reply(Header(Kind.WELCOME, header.worker, header.sequence), json_body(None))

    def _limits(self, connection: Connection) -> Mapping[Kind, int]:
        """Return which requests a connection may make, and how large their bodies are."""
        if connection.rank < 0:
            return {Kind.HELLO: SMALL_BYTES}
        limits = dict(SMALL)
        if _is_main(connection):
            limits |= {Kind.BEGIN: BEGIN_BYTES, Kind.SAVE: SMALL_BYTES}
        if self.service.run is not None:
            limits[Kind.FETCH] = 0
            if connection.worker != NO_WORKER:
                limits |= {Kind.PUSH: 4 * self.service.run.parameters, Kind.LEASE: SMALL_BYTES}
        return limits

    def _refuse(self, connection: Connection, error: ProtocolError) -> None:
        """End a connection, and say why to who is of this run."""
        log_refusal(connection, error)
        if not isinstance(error, StrangerError):
            with suppress(OSError):  # it has gone
                connection.refuse(str(error))
        self._close(connection)

    def _look_for_lost(self, now: float) -> None:
        for connection in list(self._connections):
            if connection.rank < 0:
                is_late = now - connection.accepted > min(HELLO_SECONDS, self._timeout)
            else:
                is_late = connection.worker != NO_WORKER and now - connection.seen > self._timeout
            if is_late:
                logger.debug("%s: not heard of in time", connection)
                self._close(connection)

    def _close(self, connection: Connection) -> None:
        """End a connection; a worker that has not left is lost."""
        self._connections.discard(connection)
        self._selector.unregister(connection.sock)
        connection.close()
        if connection.worker in self.service.here:
            if not self.service.finished:
                logger.warning("%s is lost after version %d", connection, self.service.counted[0])
            self.service.lost(connection.worker)
        elif _is_main(connection) and not self.service.finished:
            logger.debug("rank 0 is gone")
            self.service.finished, self._ended_at = True, float("-inf")


def _is_main(connection: Connection) -> bool:
    """Tell whether a connection is that of rank 0, with which the run ends."""
    return connection.rank == 0 and connection.worker == NO_WORKER
