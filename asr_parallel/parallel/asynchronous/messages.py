"""The messages between workers and the server that has the center: a fixed header, a body, and a checksum of both.

    magic, protocol version, kind, run key, worker, sequence number, version, frames, sums, bytes of the body

The checksum comes last, so that it is computed while the message is on its way.
Framed TCP of the standard library: `recv_into` receives a model into the memory where it is used, no dependency is
added, and every limit below is ours to set. gRPC and ZeroMQ copy a message once more; torch.distributed's RPC is
deprecated, and a gloo group allows neither late nor lost processes. A body is a float32 vector, JSON, or safetensors;
nothing is pickled.
"""

import hmac
import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from asr_parallel.record.compiled import njit

MAGIC = b"ASRc"
PROTOCOL = 1
KEY_BYTES = 16  # 128 bits, which nobody guesses
SMALL_BYTES = 1 << 20  # of JSON
BLOCK_BYTES = 1 << 20  # checked and sent at once: it stays in a core's cache meanwhile
NO_WORKER = -1
NO_RANK = -1  # of who only asks whether a run is served

NO_SUMS = (0.0,) * 6  # as many as service.MEASURED

# magic, protocol, kind, key, worker, sequence, version, frames, sums, bytes; little-endian, without padding
_HEADER = struct.Struct(f"<4sHH16siIQQ{len(NO_SUMS)}dQ")
HEADER_BYTES = _HEADER.size
CHECKSUM_BYTES = 4


class Kind(IntEnum):
    """The kind of a message: requests and their replies."""

    HELLO = 1  # who comes: rank, version of the program
    WELCOME = 2
    FETCH = 3
    MODEL = 4
    PUSH = 5  # with sums of what was measured in training since the last one
    APPLIED = 6
    LEASE = 7
    LEASED = 8
    CALL = 9  # anything small
    VALUE = 10
    BEGIN = 11  # rank 0: the center to start from
    SAVE = 12  # rank 0: the state of the center and the leases
    STATE = 13
    ALIVE = 14  # no reply
    LEAVE = 15
    GOODBYE = 16
    REFUSED = 17


class ProtocolError(ValueError):
    """A message that is not of this protocol or this run, or not what was sent. Its connection ends."""


class StrangerError(ProtocolError):
    """A message of somebody who is not of this run, and is told nothing."""


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a message.

    worker: number of the worker, NO_WORKER for a process.
    sequence: of the connection's requests from 1; a reply has its request's.
    version: pushes that the center had applied, of the model fetched or that a push is from.
    frames: trained on since the last push; in replies, all that the center has counted.
    size: bytes of the body.
    sums: of a push, over what it was trained on; applied with it, or not at all. service.MEASURED names them.
    """

    kind: Kind
    worker: int
    sequence: int
    version: int = 0
    frames: int = 0
    size: int = 0
    sums: tuple[float, ...] = NO_SUMS


class Digest:
    """The checksum of a message, block by block as it comes.

    It is the CRC-32 of the header and of the sums of each block's 64-bit words: a CRC of all bytes takes as long as
    sending them does.
    """

    def __init__(self, header: bytes, body: np.ndarray) -> None:
        """Take a (bytes,) uint8 body that is still to come."""
        self._header, self.body, self._done = header, body, 0
        self._sums: list[int] = []

    def update(self, received: int) -> None:
        """Check the whole blocks among the bytes received so far, and the rest when all are there."""
        size = len(self.body)
        while self._done + BLOCK_BYTES <= received:
            self._add(BLOCK_BYTES)
        if received == size and self._done < size:
            self._add(size - self._done)

    def checksum(self) -> bytes:
        """Return the CHECKSUM_BYTES of the header and a whole body."""
        assert self._done == len(self.body)
        crc = zlib.crc32(np.array(self._sums, np.uint64).tobytes(), zlib.crc32(self._header))
        return crc.to_bytes(CHECKSUM_BYTES, "little")

    def check(self, received: bytes) -> None:
        """Raise ProtocolError when another checksum was received."""
        found = self.checksum()
        if found != received:
            raise ProtocolError(f"checksum {received.hex()}; expected {found.hex()}")

    def _add(self, size: int) -> None:
        block = self.body[self._done : self._done + size]
        whole = size // 8 * 8
        self._sums.append(int(_sum_words(block[:whole].view(np.uint64))))
        if whole < size:
            self._sums.append(int.from_bytes(block[whole:].tobytes(), "little"))
        self._done += size


@njit(nogil=True)
def _sum_words(words: np.ndarray) -> np.uint64:
    """Return the sum of (n,) uint64, modulo 2^64; twice as fast as numpy's."""
    total = np.uint64(0)
    for word in words:
        total += word
    return total


class Outgoing:
    """A message on its way: views of its bytes one after the other, each made when it is asked for."""

    def __init__(self, header: Header, key: bytes, body: np.ndarray) -> None:
        """Take a (bytes,) uint8 body, which is not to change before it was sent; see `keep_copy`."""
        fields = (MAGIC, PROTOCOL, int(header.kind), key, header.worker, header.sequence, header.version, header.frames)
        self._head = _HEADER.pack(*fields, *header.sums, len(body))
        self._body, self._at = body, 0
        self._digest = Digest(self._head, body)
        self._begun = self._ended = False

    def next_view(self) -> memoryview | None:
        """Return the next bytes to send; None: that was all."""
        if not self._begun:
            self._begun = True
            if len(self._body) > BLOCK_BYTES:
                return memoryview(self._head)
            self._at, self._ended = len(self._body), True
            self._digest.update(self._at)
            return memoryview(self._head + self._body.tobytes() + self._digest.checksum())
        if self._at < len(self._body):
            first, self._at = self._at, min(self._at + BLOCK_BYTES, len(self._body))
            self._digest.update(self._at)
            return self._body.data[first : self._at]
        if self._ended:
            return None
        self._ended = True
        return memoryview(self._digest.checksum())

    def keep_copy(self) -> None:
        """Copy what is still to be sent, so that the memory of the body may change."""
        self._body = self._digest.body = self._body.copy()


def unpacked(octets: bytes, key: bytes, limits: Mapping[Kind, int]) -> Header:
    """Return the header in HEADER_BYTES of bytes.

    Args:
        key: of the run.
        limits: largest body by kind; other kinds are refused.

    Raises:
        ProtocolError: of another protocol or run, of a kind that is not expected, or too large.
    """
    magic, protocol, kind, found, worker, sequence, version, frames, *sums, size = _HEADER.unpack(octets)
    if magic != MAGIC:
        raise StrangerError(f"not a message of asr-parallel: it begins with {magic!r}; expected {MAGIC!r}")
    if not hmac.compare_digest(found, key):
        raise StrangerError("the key of another run")
    if protocol != PROTOCOL:
        raise ProtocolError(f"protocol version {protocol}; expected {PROTOCOL}")
    if kind not in limits:
        raise ProtocolError(f"kind {kind}; expected one of {', '.join(sorted(one.name for one in limits))}")
    if size > limits[Kind(kind)]:
        raise ProtocolError(f"{size} bytes of {Kind(kind).name}; expected at most {limits[Kind(kind)]}")
    return Header(Kind(kind), worker, sequence, version, frames, size, tuple(sums))


def as_body(octets: bytes) -> np.ndarray:
    """Return bytes as a body."""
    return np.frombuffer(octets, np.uint8)


def json_body(value: Any) -> np.ndarray:
    """Return a JSON value as a body; ValueError when it is too large."""
    octets = json.dumps(value).encode()
    if len(octets) > SMALL_BYTES:
        raise ValueError(f"a message of {len(octets)} bytes; expected at most {SMALL_BYTES}")
    return as_body(octets)


def json_value(body: np.ndarray) -> Any:
    """Return the JSON value of a body; ProtocolError when it holds none."""
    try:
        return json.loads(body.tobytes()) if len(body) else None
    except ValueError as error:
        raise ProtocolError(f"a body that is not JSON: {error}") from error
