"""A server on the loopback interface: what is applied, what is refused, and who waits for whom."""

import time
import tracemalloc

import numpy as np
import pytest
import torch
from served import SECONDS, answer, begun, client, fetched, packed, raw, send, serving, wait_for

from asr_parallel.parallel.asynchronous import connection, messages
from asr_parallel.parallel.asynchronous.client import Client, RemoteCenter
from asr_parallel.parallel.asynchronous.messages import Header, Kind
from asr_parallel.parallel.asynchronous.service import Plan, RefusedError
from asr_parallel.parallel.transport import LostError

SIZE = 300_001  # parameters: more than a piece, and no whole number of words


def test_what_is_pushed_is_added_once_and_fetched_by_all() -> None:
    with serving() as (_, address):
        main = begun(address, SIZE)
        one, two = client(address, 1, 1), client(address, 2, 2)
        steps = torch.randn(3, SIZE, generator=torch.Generator().manual_seed(0))
        for k, worker in enumerate((one, two, one)):
            worker.push(steps[k], worker.version, 100)
            params = fetched(worker, SIZE)
            assert torch.equal(params, sum(steps[: k + 1])) and worker.version == k + 1
        assert main.call("status")["frames"] == 300
        values, tensors = main.state()
        assert torch.equal(tensors["params"], params) and values["center"] == {
            "version": 3,
            "frames": 300,
            "staleness": {"0": 1, "1": 2},
        }


def test_leases_of_who_is_lost_are_handed_over_or_counted_as_unread() -> None:
    for hand_over in (True, False):
        with serving() as (_, address):
            main = begun(address, 4, minibatches=2, workers=2, hand_over=hand_over)
            one, two = client(address, 1, 0), client(address, 1, 1)
            given = [one.lease()["lease"], two.lease()["lease"]]
            assert given == [[0, 0, 0, 1], [1, 0, 0, 1]]
            one.close()
            wait_for(main, lambda status: status["gone"] == [0])
            given = []
            while True:
                two.push(torch.ones(4), 0, 8, {"loss_sum": 1.5})
                lease = two.lease()["lease"]
                if lease is None:
                    break
                given.append(lease)
            status = main.call("status")
            assert status["here"] == [1] and status["measured"]["loss_sum"] == 1.5 * (1 + len(given))
            if hand_over:
                assert given == [[0, 0, 0, 1], [1, 0, 1, 1], [0, 0, 1, 1]] and status["unread"] == 0
            else:
                assert given == [[1, 0, 1, 1]] and status["unread"] == 2
            again = client(address, 3, 0)  # it comes back, late
            assert again.lease() == {"lease": None, "wait": False, "stop": 0}
            assert main.call("status")["gone"] == []


def test_what_was_measured_is_counted_with_its_push_or_not_at_all() -> None:
    with serving() as (_, address):
        main = begun(address, 4)
        center = RemoteCenter(lambda worker: client(address, 1, worker), [1], torch.zeros(4))
        center.measured[1] = {"loss_sum": 2.5, "correct": 3.0}
        center.push(1, torch.full((4,), torch.inf), 0, 8)
        with pytest.raises(RefusedError):
            center.fetch(1)
        assert not any(main.call("status")["measured"].values())
        center.measured[1] = {"loss_sum": 1.5, "applied": 1.0}
        center.push(1, torch.ones(4), 0, 8)
        center.push(1, torch.ones(4), 0, 0)  # with nothing new
        center.fetch(1)
        measured = main.call("status")["measured"]
        assert {name: total for name, total in measured.items() if total} == {"loss_sum": 1.5, "applied": 1.0}
        assert main.state()[0]["measured"] == measured
        half = raw(address, worker=2)
        push = packed(Header(Kind.PUSH, 2, 2, sums=(9.0,) * 6), np.zeros(16, np.uint8))
        half.sendall(push[:-1])  # and is killed
        half.close()
        wait_for(main, lambda status: status["gone"] == [2])
        assert main.call("status")["measured"] == measured
        center.leave()


def test_a_worker_waits_while_others_may_be_lost_and_no_longer() -> None:
    with serving() as (_, address):
        main = begun(address, 4, minibatches=1, workers=2)
        one, two = client(address, 1, 0), client(address, 1, 1)
        assert one.lease()["lease"] and two.lease()["lease"]
        two.push(torch.ones(4), 0, 8)
        assert two.lease() == {"lease": None, "wait": True, "stop": 0}
        one.close()
        wait_for(main, lambda status: status["gone"] == [0])
        assert two.lease()["lease"] == [0, 0, 0, 1]
        two.push(torch.ones(4), 0, 8)
        assert two.lease() == {"lease": None, "wait": False, "stop": 0}
        two.call("stop", 15)
        assert two.lease()["stop"] == 15


def test_a_run_goes_on_from_its_state_and_gives_out_again_what_was_out() -> None:
    with serving() as (_, address):
        main = begun(address, 4, minibatches=3, workers=2)
        one, two = client(address, 1, 0), client(address, 1, 1)
        one.lease(), two.lease()
        one.push(torch.ones(4), 0, 8, {"correct": 5})
        assert one.lease()["lease"] == [0, 0, 1, 1]
        values, tensors = main.state()
    with serving() as (_, address):
        main = client(address)
        plan = Plan("downpour", {}, [3, 3], 1, 1, True, values["center"], values["leases"], values["measured"])
        main.begin(plan, tensors)
        with pytest.raises(RefusedError, match="begun already"):
            main.begin(plan, tensors)
        one = client(address, 0, 0)
        assert fetched(one, 4).eq(1).all() and (one.version, one.frames) == (1, 8)
        given = []
        while (lease := one.lease()["lease"]) is not None:
            given.append(tuple(lease))
            one.push(torch.ones(4), 1, 8)
        assert sorted(given) == [(0, 0, 1, 1), (0, 0, 2, 1), (1, 0, 0, 1), (1, 0, 1, 1), (1, 0, 2, 1)]
        assert main.call("status")["measured"]["correct"] == 5 and main.call("status")["frames"] == 48


def test_a_worker_is_there_once() -> None:
    with serving() as (_, address):
        main = begun(address, 4)
        first = client(address, 1, 1)
        with pytest.raises(RefusedError, match="worker 1 of rank 2: is here already"):
            client(address, 2, 1)
        with pytest.raises(RefusedError, match="worker 4: not of this run"):
            client(address, 2, 4)
        with pytest.raises(RefusedError, match="rank 0 is here already"):
            client(address)
        first.leave()
        wait_for(main, lambda status: status["here"] == [])
        assert main.call("status")["gone"] == []
        client(address, 2, 1)


def test_who_does_not_read_or_write_on_holds_up_nobody() -> None:
    """A model stays as it was fetched although the center changes while it is on its way."""
    with serving() as (_, address):
        main = begun(address, size := 8_000_000)
        slow, half = raw(address, worker=1), raw(address, worker=2)
        send(slow, Header(Kind.FETCH, 1, 2), b"")  # and does not read
        push = packed(Header(Kind.PUSH, 2, 2), np.zeros(4 * size, np.uint8))
        half.sendall(push[:1000])  # and sends no more
        time.sleep(0.2)
        fast = client(address, 1, 3)
        for k in range(3):
            fast.push(torch.ones(size), k, 1)
        assert fetched(fast, size).eq(3).all()
        kind, body = answer(slow)
        assert kind == Kind.MODEL and not any(body)
        half.sendall(push[1000:])
        assert answer(half)[0] == Kind.APPLIED
        main.close()


def test_who_gives_no_sign_of_life_is_lost_and_who_computes_is_not() -> None:
    with serving(timeout=1.0) as (_, address):
        main, one = begun(address, 4), client(address, 1, 1)
        port = RemoteCenter(lambda worker: Client(address, 2, "1.0", 1.0, worker), [2], torch.zeros(4))
        wait_for(main, lambda status: status["gone"] == [1])
        time.sleep(1.0)
        assert main.call("status")["here"] == [2]
        with pytest.raises((LostError, RefusedError)):
            one.lease()
        assert port.lease(2) is not None
        port.end_signs()
        wait_for(main, lambda status: status["gone"] == [1, 2])


def test_the_server_ends_with_rank_0() -> None:
    with serving() as (server, address):
        main, other = begun(address, 4), client(address, 1, 1)
        main.close()
        with pytest.raises(LostError, match="rank 1, worker 1: the server of the run is lost"):
            give_up = time.monotonic() + SECONDS
            while time.monotonic() < give_up:
                other.lease()
        assert server.service.finished


def test_connections_hold_what_the_formula_has() -> None:
    """A push of each worker, and a model on its way to each who takes none and to rank 0, however often others push."""
    size = 4_000_000  # more than the system buffers
    push = packed(Header(Kind.PUSH, 1, 2), np.zeros(4 * size, np.uint8))
    with serving() as (_, address):
        main, fast, slow = begun(address, size), client(address, 1, 0), raw(address, worker=1)
        tracemalloc.start()
        try:
            slow.sendall(push)
            assert answer(slow)[0] == Kind.APPLIED
            send(slow, Header(Kind.FETCH, 1, 3), b"")
            main._send(Kind.FETCH, np.empty(0, np.uint8))
            fast.lease()
            for _ in range(3):
                fast.push(torch.ones(size), fast.version, 1)
                fast.call("status")
            files = [tracemalloc.Filter(True, module.__file__) for module in (connection, messages)]
            statistics = tracemalloc.take_snapshot().filter_traces(files).statistics("filename")
        finally:
            tracemalloc.stop()
        models = sum(one.size for one in statistics) / (4 * size)
        assert 4 <= models < 4.5
