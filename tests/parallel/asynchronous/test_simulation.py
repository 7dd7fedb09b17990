import json

import pytest
from quadratic import rule

from asr_parallel.clock.async_durations import RandomDurations, make_timeline
from asr_parallel.parallel.asynchronous.life import Phase
from asr_parallel.parallel.asynchronous.simulation import Event, Timeline


def timeline(name: str = "downpour", counts: tuple[int, ...] = (8, 8), epochs: int = 1, **given: float) -> Timeline:
    options = {name: given.pop(name) for name in ("jitter", "speeds", "pause", "seed") if name in given}
    durations = RandomDurations(len(counts), 1.0, 0.125, 0.25, **options)
    return make_timeline(rule(name, len(counts), **given), list(counts), epochs, durations)


def test_one_worker_does_one_thing_after_the_other() -> None:
    found = [(event.seconds, event.phase.name) for event in timeline(counts=(3,), period=2).run()]
    fetched = 0.125 + 0.25 + 0.125  # request, bytes, reply
    steps = [fetched + 1, fetched + 2]
    pushed = steps[-1] + 0.25 + 0.125
    expected = [(0.125, "FETCH"), *((at, "STEP") for at in steps), (pushed, "PUSH"), (pushed + 0.125, "FETCH")]
    assert found[:5] == expected
    assert found[5] == (pushed + fetched + 1, "STEP")


def test_a_busy_port_makes_workers_wait_in_the_order_in_which_they_ask() -> None:
    """Both ask at once: the second is served when the first has been sent."""
    of = timeline()
    events = [of.next_event() for _ in range(2)]
    assert [(event.worker, event.seconds) for event in events] == [(0, 0.125), (1, 0.375)]
    assert dict(of.out.queue) == {0: 1, 1: 1}


def test_a_straggler_slows_nobody() -> None:
    """At a tenth of the speed it trains on a tenth of what the others do, and all are done at the same time."""
    of = timeline(counts=(200,) * 4, period=4, speeds=(1.0, 1.0, 1.0, 0.1))
    steps = [event for event in of.run() if event.phase == Phase.STEP]
    counts = [sum(event.worker == worker for event in steps) for worker in range(4)]
    assert sum(counts) == 800 and len({event.place for event in steps}) == 800
    assert counts[3] == pytest.approx(counts[0] / 10, rel=0.4)
    last = [max(event.seconds for event in steps if event.worker == worker) for worker in range(4)]
    assert max(last) - min(last) < 4 * 10 + 4
    assert of.seconds < 1.3 * 800 / 3.1


def test_a_pause_is_the_last_workers_alone() -> None:
    durations = RandomDurations(2, 1.0, 0.0, 0.0, pause=30.0)
    assert [durations.minibatches(0, n, 1) for n in (98, 99)] == [1, 1]
    assert [durations.minibatches(1, n, 1) for n in (98, 99, 100)] == [1, 31, 1]
    assert durations.minibatches(1, 0, 250) == 250 + 2 * 30


@pytest.mark.parametrize("jitter", [0.05, 0.2])
def test_jitter_has_the_mean_and_deviation_asked_for(jitter: float) -> None:
    durations = RandomDurations(2, 3.0, 0.5, 0.0, jitter=jitter)
    drawn = [durations.minibatches(1, n, 1) / 3 for n in range(5000)]
    mean = sum(drawn) / len(drawn)
    deviation = (sum((one - mean) ** 2 for one in drawn) / len(drawn)) ** 0.5
    assert mean == pytest.approx(1, abs=0.015) and deviation == pytest.approx(jitter, rel=0.06)
    assert drawn[100] == durations.minibatches(1, 100, 1) / 3, "whatever was asked for before"
    assert drawn[100] != durations.minibatches(0, 100, 1) / 3


@pytest.mark.parametrize("name", ["async-elastic", "downpour", "mdownpour"])
def test_a_timeline_goes_on_from_its_state_at_any_event(name: str) -> None:
    given = {"jitter": 0.3, "seed": 7} | ({} if name == "mdownpour" else {"period": 3})
    uncut = timeline(name, (5, 7, 4), 2, **given)
    whole = list(uncut.run())
    for cut in range(0, len(whole), 5):
        first, events = timeline(name, (5, 7, 4), 2, **given), list[Event]()
        for _ in range(cut):
            event = first.next_event()
            assert event is not None
            if event.phase == Phase.PUSH:
                first.leases.pushed(event.worker)
            first.go_on(event)
            events.append(event)
        second = timeline(name, (5, 7, 4), 2, **given)
        second.load(json.loads(json.dumps(first.state())))
        assert events + list(second.run()) == whole
        assert second.stats() == uncut.stats()


def test_whole_periods_take_the_time_of_their_minibatches() -> None:
    one, whole = (
        make_timeline(rule("downpour", 3, period=4), [10, 9, 8], 2, RandomDurations(3, 1.0, 0.125, 0.25), at_once)
        for at_once in (False, True)
    )
    events = [len(list(of.run())) for of in (one, whole)]
    assert events[1] < events[0]
    assert (one.seconds, one.compute, one.exchange) == (whole.seconds, whole.compute, whole.exchange)
