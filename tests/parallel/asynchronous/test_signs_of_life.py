"""Who counts as lost, by a clock that the tests put forward: who is heard of, or takes what is sent, does not."""

import socket
import time

import numpy as np
import pytest
from served import KEY, SECONDS, begun, client, serving, wait_for

from asr_parallel.parallel.asynchronous import connection as connection_module
from asr_parallel.parallel.asynchronous import server as server_module
from asr_parallel.parallel.asynchronous.connection import Connection
from asr_parallel.parallel.asynchronous.messages import Header, Kind
from asr_parallel.parallel.asynchronous.service import Reply, Service


class Clock:
    """Seconds, of which some pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds + time.monotonic()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (connection_module, server_module):
        monkeypatch.setattr(module, "time", clock)
    return clock


def test_who_takes_a_model_slowly_gives_signs_of_life(clock: Clock) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname(), SECONDS) as other,
    ):
        sending = Connection(listening.accept()[0], "other", KEY)
        taken = 0
        sending.reply(Header(Kind.MODEL, 1, 1), np.zeros(32_000_000, np.uint8))
        began = sending.seen
        clock.seconds += 10 * SECONDS
        while taken < 16_000_000:
            taken += len(other.recv(1 << 20))
            sending.send()
        assert sending.is_sending and sending.seen >= began + 10 * SECONDS
        sending.close()


def test_who_does_not_say_who_it_is_in_time_is_sent_away(clock: Clock) -> None:
    with serving(timeout=100 * SECONDS) as (_, address), socket.create_connection((address.host, address.port)) as sock:
        main = begun(address, 4)
        sock.settimeout(SECONDS)
        for _ in range(3):
            sock.sendall(b"A")
            main.call("status"), main.call("status")  # it has been read
            clock.seconds += 0.4 * server_module.HELLO_SECONDS
        assert sock.recv(1) == b""
        assert client(address, 1, 1).lease()["lease"] is not None


def test_who_gave_signs_of_life_while_the_server_was_busy_is_not_lost(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as (_, address):
        main, quiet, alive = begun(address, 4), client(address, 1, 1), client(address, 1, 2)
        answer = Service.answer

        def slow(service: Service, header: Header, body: np.ndarray, rank: int) -> Reply:
            if header.kind is Kind.SAVE:
                clock.seconds += 10 * SECONDS
                alive.show_life()
            return answer(service, header, body, rank)

        monkeypatch.setattr(Service, "answer", slow)
        main.state()
        wait_for(main, lambda status: status["gone"] == [1])
        assert main.call("status")["here"] == [2] and alive.lease()["lease"] is not None
        quiet.close()
