"""Headers and checksums: whatever is not what was sent is refused."""

import numpy as np
import pytest

from asr_parallel.parallel.asynchronous.messages import (
    BLOCK_BYTES,
    HEADER_BYTES,
    Digest,
    Header,
    Kind,
    ProtocolError,
    StrangerError,
    check,
    json_body,
    json_value,
    packed,
    unpacked,
)

KEY = bytes(range(16))
LIMITS = {Kind.PUSH: 10 * BLOCK_BYTES, Kind.CALL: 100}


def numbers(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=count).astype(np.float32).view(np.uint8)


def digest_of(body: np.ndarray, step: int | None = None) -> Digest:
    digest = Digest(body, vector=len(body) % 4 == 0)
    for received in range(0, len(body), step or len(body) + 1):
        digest.update(received)
    digest.update(len(body))
    return digest


@pytest.mark.parametrize("count", [0, 1, 2, 7, BLOCK_BYTES // 4, BLOCK_BYTES // 4 + 1, BLOCK_BYTES])
def test_a_message_comes_back_as_it_was_in_pieces_of_any_size(count: int) -> None:
    body = numbers(count)
    head = packed(Header(Kind.PUSH, 3, 7, 2**40, 512), KEY, body)
    assert len(head) == HEADER_BYTES
    assert unpacked(head, KEY, LIMITS) == Header(Kind.PUSH, 3, 7, 2**40, 512, 4 * count)
    for step in (None, 1000, BLOCK_BYTES, BLOCK_BYTES + 13):
        digest = digest_of(body, step)
        assert digest.finite
        check(head, digest)


@pytest.mark.parametrize("where", [0, 1, 4 * 1001 + 2, 4 * 70_000, -1])
def test_a_changed_bit_is_noticed_in_body_and_header(where: int) -> None:
    body = numbers(70_001)
    head = packed(Header(Kind.PUSH, 3, 7, 5, 512), KEY, body)
    body[where] ^= 4
    with pytest.raises(ProtocolError, match="checksum"):
        check(head, digest_of(body))
    body[where] ^= 4
    for at in (28, 36, 44):  # sequence, version, frames
        changed = bytearray(head)
        changed[at] ^= 1
        with pytest.raises(ProtocolError, match="checksum"):
            check(bytes(changed), digest_of(body))


def test_blocks_that_have_changed_places_are_noticed() -> None:
    body = numbers(BLOCK_BYTES)
    head = packed(Header(Kind.PUSH, 0, 1), KEY, body)
    with pytest.raises(ProtocolError, match="checksum"):
        check(head, digest_of(np.roll(body, BLOCK_BYTES)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, 40_000, -1])
def test_numbers_that_are_not_finite_are_noticed(bad: float, where: int) -> None:
    body = numbers(70_001)
    body.view(np.float32)[where] = bad
    assert not digest_of(body, 100_000).finite


def test_headers_of_others_are_refused_by_what_they_are() -> None:
    head = packed(Header(Kind.PUSH, 0, 1), KEY, numbers(4))
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
