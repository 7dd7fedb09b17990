"""What a server on the loopback interface refuses: it is logged, and changes nothing."""

import socket
from contextlib import ExitStack, suppress

import numpy as np
import pytest
import torch
from served import SECONDS, answer, answer_or_reset, begun, client, fetched, packed, raw, send, serving, wait_for

from asr_parallel.parallel.asynchronous.messages import Header, Kind
from asr_parallel.parallel.asynchronous.server import MAX_STRANGERS
from asr_parallel.parallel.asynchronous.service import RefusedError

SIZE = 300_001  # parameters: more than a piece, and no whole number of words


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused_and_logged(bad: float, caplog: pytest.LogCaptureFixture) -> None:
    with serving() as (_, address):
        main = begun(address, SIZE)
        worker = client(address, 1, 1)
        message = torch.ones(SIZE)
        message[-1] = bad
        worker.push(message, 0, 100)
        with pytest.raises(RefusedError, match="worker 1: message with numbers that are not finite"):
            worker.fetch_into(torch.empty(SIZE))
        assert fetched(worker, SIZE).eq(0).all() and worker.version == 0
        worker.push(torch.ones(SIZE), 7, 100)
        with pytest.raises(RefusedError, match="message of version 7 with 100 frames"):
            worker.lease()
        worker.push(torch.ones(SIZE), 0, 100)  # it may go on
        assert fetched(worker, SIZE).eq(1).all()
        assert main.call("status")["refused"] == 2
    assert "refused: worker 1 in rank 1" in caplog.text


BAD = {
    "sequence number 3; expected 2": (Header(Kind.PUSH, 1, 3), bytes(4 * SIZE)),
    "4 bytes of PUSH; expected 1200004": (Header(Kind.PUSH, 1, 2), bytes(4)),
    "1200008 bytes of PUSH; expected at most 1200004": (Header(Kind.PUSH, 1, 2), bytes(4 * SIZE + 4)),
    "worker 2 on a connection of worker 1": (Header(Kind.PUSH, 2, 2), bytes(4 * SIZE)),
    "kind 11; expected one of": (Header(Kind.BEGIN, 1, 2), b""),
    "a body that is not JSON": (Header(Kind.CALL, 1, 2), b"\x80\x04K\x01."),
    "a call that is not complete": (Header(Kind.CALL, 1, 2), b'{"call": "get"}'),
    "call 'put' of rank 1; expected get, status or stop": (
        Header(Kind.CALL, 1, 2), b'{"call": "put", "arguments": {"name": "a", "value": 1}}'
    ),
    "not complete: invalid literal": (Header(Kind.CALL, 1, 2), b'{"call": "stop", "arguments": "many"}'),
}  # fmt: skip


@pytest.mark.parametrize("reason", BAD)
def test_bad_requests_are_refused_and_change_nothing(reason: str, caplog: pytest.LogCaptureFixture) -> None:
    with serving() as (_, address):
        main = begun(address, SIZE)
        sock = raw(address, worker=1)
        header, body = BAD[reason]
        with suppress(OSError):  # when the server had enough of it after the header
            send(sock, header, body)
        kind, said = answer_or_reset(sock)
        assert kind in (0, Kind.REFUSED) and (not kind or reason.encode() in said)
        wait_for(main, lambda status: status["gone"] == [1])
        assert fetched(main, SIZE).eq(0).all() and main.version == 0
    assert reason in caplog.text


def test_a_wrong_checksum_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    with serving() as (_, address):
        main = begun(address, SIZE)
        sock = raw(address, worker=1)
        body = np.ones(SIZE, np.float32).view(np.uint8)
        message = bytearray(packed(Header(Kind.PUSH, 1, 2), body))
        message[500] ^= 1
        sock.sendall(message)
        assert b"checksum" in answer(sock)[1]
        assert fetched(main, SIZE).eq(0).all()
    assert "refused: worker 1 in rank 1" in caplog.text and "checksum" in caplog.text


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + bytes(99), None])
def test_strangers_are_told_nothing(said: bytes | None, caplog: pytest.LogCaptureFixture) -> None:
    with serving() as (_, address):
        main = begun(address, 4)
        sock = socket.create_connection((address.host, address.port), SECONDS)
        if said is None:
            send(sock, Header(Kind.HELLO, -1, 1), b'{"rank": 1, "version": "1.0"}', key=bytes(16))
        else:
            sock.sendall(said)
        assert answer_or_reset(sock) == (0, b"")
        assert main.call("status")["here"] == []
    assert "refused" in caplog.text


def test_who_has_the_key_comes_in_however_many_strangers_there_are() -> None:
    with serving(timeout=100 * SECONDS) as (_, address), ExitStack() as open_until_the_end:
        main = begun(address, 4)
        strangers = []
        for _ in range(MAX_STRANGERS + 10):
            sock = socket.create_connection((address.host, address.port), SECONDS)
            strangers.append(open_until_the_end.enter_context(sock))
        worker = client(address, 1, 1)
        assert worker.lease()["lease"] is not None
        assert answer_or_reset(strangers[0]) == (0, b"")  # the first to come is the first to go
        assert main.call("status")["here"] == [1]


def test_before_the_hello_nothing_else_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    with serving() as (_, address):
        sock = socket.create_connection((address.host, address.port), SECONDS)
        send(sock, Header(Kind.FETCH, 1, 1), b"")
        assert answer(sock)[0] in (0, Kind.REFUSED)
    assert "expected one of HELLO" in caplog.text


def test_another_version_of_the_program_is_refused_with_both() -> None:
    with (
        serving(version="1.0") as (_, address),
        pytest.raises(RefusedError, match=r"rank 3 has version 1\.1, but the server has 1\.0"),
    ):
        client(address, 3, version="1.1")
