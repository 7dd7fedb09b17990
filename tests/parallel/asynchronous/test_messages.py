"""Headers and checksums: whatever is not what was sent is refused."""

import numpy as np
import pytest

from asr_parallel.parallel.asynchronous.messages import (
    BLOCK_BYTES,
    CHECKSUM_BYTES,
    HEADER_BYTES,
    Digest,
    Header,
    Kind,
    Outgoing,
    ProtocolError,
    StrangerError,
    json_body,
    json_value,
    unpacked,
)

KEY = bytes(range(16))
SUMS = (0.1, -2.0, 1e300, 0.0, 5.0, 6.0)
LIMITS = {Kind.PUSH: 10 * BLOCK_BYTES, Kind.CALL: 100}


def numbers(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=count).astype(np.float32).view(np.uint8)


def packed(header: Header, body: np.ndarray) -> bytes:
    outgoing, views = Outgoing(header, KEY, body), []
    while (view := outgoing.next_view()) is not None:
        views.append(bytes(view))
    return b"".join(views)


def digest_of(head: bytes, body: np.ndarray, step: int | None = None) -> Digest:
    digest = Digest(head, body)
    for received in range(0, len(body), step or len(body) + 1):
        digest.update(received)
    digest.update(len(body))
    return digest


@pytest.mark.parametrize("count", [0, 1, 2, 7, BLOCK_BYTES // 4, BLOCK_BYTES // 4 + 1, BLOCK_BYTES])
def test_a_message_comes_back_as_it_was_in_pieces_of_any_size(count: int) -> None:
    body = numbers(count)
    whole = packed(Header(Kind.PUSH, 3, 7, 2**40, 512, sums=SUMS), body)
    head, sent, tail = whole[:HEADER_BYTES], whole[HEADER_BYTES:-CHECKSUM_BYTES], whole[-CHECKSUM_BYTES:]
    assert unpacked(head, KEY, LIMITS) == Header(Kind.PUSH, 3, 7, 2**40, 512, 4 * count, SUMS)
    assert sent == body.tobytes()
    for step in (None, 1000, BLOCK_BYTES, BLOCK_BYTES + 13):
        digest_of(head, body, step).check(tail)


@pytest.mark.parametrize("where", [0, 1, 4 * 1001 + 2, 4 * 70_000, -1])
def test_a_changed_bit_is_noticed_in_body_and_header(where: int) -> None:
    body = numbers(70_001)
    whole = packed(Header(Kind.PUSH, 3, 7, 5, 512), body)
    head, tail = whole[:HEADER_BYTES], whole[-CHECKSUM_BYTES:]
    body[where] ^= 4
    with pytest.raises(ProtocolError, match="checksum"):
        digest_of(head, body).check(tail)
    body[where] ^= 4
    for at in (28, 36, 44, 52):  # sequence, version, frames, the first sum
        changed = bytearray(head)
        changed[at] ^= 1
        with pytest.raises(ProtocolError, match="checksum"):
            digest_of(bytes(changed), body).check(tail)


def test_blocks_that_have_changed_places_are_noticed() -> None:
    body = numbers(BLOCK_BYTES)
    whole = packed(Header(Kind.PUSH, 0, 1), body)
    with pytest.raises(ProtocolError, match="checksum"):
        digest_of(whole[:HEADER_BYTES], np.roll(body, BLOCK_BYTES)).check(whole[-CHECKSUM_BYTES:])


def test_what_is_copied_on_its_way_stays_as_it_was() -> None:
    body = numbers(BLOCK_BYTES)
    whole, outgoing = packed(Header(Kind.MODEL, 0, 1), body), Outgoing(Header(Kind.MODEL, 0, 1), KEY, body)
    views = [outgoing.next_view(), outgoing.next_view()]
    sent = [bytes(view) for view in views if view is not None]
    outgoing.keep_copy()
    body[:] = 0
    while (view := outgoing.next_view()) is not None:
        sent.append(bytes(view))
    assert b"".join(sent) == whole


def test_headers_of_others_are_refused_by_what_they_are() -> None:
    head = packed(Header(Kind.PUSH, 0, 1), numbers(4))[:HEADER_BYTES]
    with pytest.raises(StrangerError, match="the key of another run"):
        unpacked(head, bytes(16), LIMITS)
    with pytest.raises(StrangerError, match="GET / HTTP"[:4]):
        unpacked(b"GET / HTTP/1.1\r\n".ljust(HEADER_BYTES), KEY, LIMITS)
    with pytest.raises(ProtocolError, match="protocol version 2; expected 1"):
        unpacked(head[:4] + b"\2\0" + head[6:], KEY, LIMITS)
    with pytest.raises(ProtocolError, match="kind 5; expected one of CALL"):
        unpacked(head, KEY, {Kind.CALL: 10})
    with pytest.raises(ProtocolError, match="16 bytes of PUSH; expected at most 8"):
        unpacked(head, KEY, {Kind.PUSH: 8})


def test_json_bodies() -> None:
    assert json_value(json_body({"a": [1, None]})) == {"a": [1, None]}
    with pytest.raises(ProtocolError, match="not JSON"):
        json_value(np.frombuffer(b"\x80\x04K\x01.", np.uint8))  # a pickle
    with pytest.raises(ValueError, match="at most"):
        json_body("x" * 2_000_000)
