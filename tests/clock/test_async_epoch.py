"""Asynchronous algorithms on the modelled clock."""

from dataclasses import replace

import pytest

from asr_parallel.cli.main import main
from asr_parallel.clock.interconnect import Interconnect
from asr_parallel.clock.modelled_clock import ModelledClock
from asr_parallel.clock.stragglers import Stragglers
from asr_parallel.parallel.cost import StepCost
from asr_parallel.parallel.worker_options import split

WORK = StepCost(step_seconds=0.1, minibatch=100, parameters=1000)
NETWORK = Interconnect("slow", 1e-3, 1e6, "made up")
MESSAGE = 4e-3


def clock(name: str, workers: int, **given: float) -> ModelledClock:
    options, constants = split(algorithm=name, workers=workers, **given)
    return ModelledClock(options, WORK, NETWORK, 640_000, constants=constants)


def test_an_exchange_is_a_request_two_models_and_their_latencies() -> None:
    seconds = clock("downpour", 2, period=8).epoch()
    assert seconds.compute == pytest.approx(320)
    assert seconds.exchange == pytest.approx(
        400 * (2 * MESSAGE + 3e-3), rel=0.02
    )  # one more fetch in the simulated part
    assert seconds.wait < 0.02 * seconds.exchange, "after the first exchange workers no longer meet at the port"


def test_a_center_whose_port_is_full_sets_the_pace() -> None:
    """Each minibatch takes the port for two messages, one in each direction at the same time."""
    full = clock("mdownpour", 64)
    assert full.epoch().total == pytest.approx(6400 * MESSAGE, rel=0.05)
    assert full.epoch().wait > 0.5 * full.epoch().total


def test_a_straggler_costs_what_it_does_not_do() -> None:
    usual, slow = (clock("async-elastic", 4, period=4, sim_straggler=factor).epoch().total for factor in (1.0, 3.0))
    assert slow / usual == pytest.approx(4 / (3 + 1 / 3), rel=0.05)
    by_speeds = replace(clock("async-elastic", 4, period=4), stragglers=Stragglers(speeds=(1, 1, 1, 1 / 3)))
    assert by_speeds.epoch().total == pytest.approx(slow)
    assert clock("async-elastic", 4, period=4, sim_straggler=3.0).peak() == pytest.approx(
        by_speeds.peak() * slow / usual
    )


def test_jitter_makes_nobody_wait_for_the_slowest() -> None:
    of = replace(clock("async-elastic", 16, period=4), stragglers=Stragglers(0.3))
    synchronous = replace(of, options=split(algorithm="average", workers=16)[0], constants=None)
    assert of.epoch().total == pytest.approx(clock("async-elastic", 16, period=4).epoch().total, rel=0.05)
    assert synchronous.epoch().wait > 3 * of.epoch().wait


def test_bad_constants_are_refused() -> None:
    with pytest.raises(ValueError, match=r"elastic_beta 3.0 with 2 workers: expected at most 2"):
        clock("async-elastic", 2, elastic_beta=3.0).epoch()
    with pytest.raises(ValueError, match="3 speeds for 2 workers"):
        replace(clock("downpour", 2), stragglers=Stragglers(speeds=(1, 1, 1))).epoch()


def test_predict_knows_them(capsys: pytest.CaptureFixture[str]) -> None:
    words = "predict --workers 2,8 --step-seconds 0.1 --frames 1000000 --algorithm async-elastic --algorithm downpour"
    assert not main(words.split())
    said = capsys.readouterr().out
    for name in ("async-elastic", "downpour"):
        assert f"| {name} | 8 | 7." in said
