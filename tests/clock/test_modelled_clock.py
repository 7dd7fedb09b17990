"""The modelled clock: formulas against hand-computed cases, and what must hold in the limit. Nothing here is timed."""

import math
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from asr_parallel.clock import step_time
from asr_parallel.clock.interconnect import BEST, COLLECTIVES, PRESETS, Interconnect, all_reduce, broadcast
from asr_parallel.clock.modelled_clock import (
    ModelledClock,
    TimeBreakdown,
    pays_up_to,
    smallest_period,
)
from asr_parallel.clock.step_time import gradient_sums, measure_step, measure_sync, work_of
from asr_parallel.clock.stragglers import Stragglers
from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.parallel.cost import AllReduce, StepCost
from asr_parallel.parallel.registry import ALGORITHMS
from asr_parallel.parallel.worker_options import WorkerOptions, split

NETWORK = Interconnect("test", 1e-3, 1e6, "made up")
FREE = Interconnect("free", 0.0, math.inf, "made up")
WORK = StepCost(0.1, 10, 1000)  # 4000 bytes: 4 ms on NETWORK
FRAMES = 64_000.0
COMMUNICATING = ("average", "block-momentum", "elastic", "colearn", "ensemble", "gradient")


def clock(name: str = "average", workers: int = 4, network: Interconnect = NETWORK, **options: object) -> ModelledClock:
    chosen, constants = split(workers=workers, algorithm=name, **options)
    return ModelledClock(chosen, WORK, network, FRAMES, how="ring", constants=constants)


@pytest.mark.parametrize(
    ("how", "workers", "seconds"),
    [
        ("ring", 4, 6 * (1e-3 + 1e-3)),  # six messages of a quarter of 4 ms
        ("tree", 4, 2 * (1e-3 + 4e-3)),
        ("tree", 5, 4 * (1e-3 + 4e-3)),
        ("halving", 4, 4 * 1e-3 + 2 * 3 / 4 * 4e-3),
        ("halving", 5, 4 * 1e-3 + 2 * 3 / 4 * 4e-3 + 2 * (1e-3 + 4e-3)),
        ("gather", 4, 2 * 1e-3 + 3 * 4e-3 + 2 * (1e-3 + 4e-3)),
        ("server", 4, 2 * (1e-3 + 16e-3)),
    ],
)
def test_all_reduces(how: str, workers: int, seconds: float) -> None:
    assert all_reduce(NETWORK, workers, 4000, how) == pytest.approx(seconds)


def test_broadcasts() -> None:
    assert broadcast(NETWORK, 4, 4000) == pytest.approx(min(2 * 5e-3, 5e-3 + 2 * 3 / 4 * 4e-3))
    assert broadcast(NETWORK, 4, 4) == pytest.approx(2 * (1e-3 + 4e-6))  # few bytes: the tree
    assert broadcast(NETWORK, 2, 4000) == pytest.approx(5e-3)


@pytest.mark.parametrize("how", COLLECTIVES)
def test_one_worker_has_nobody_to_talk_to_and_more_bytes_take_longer(how: str) -> None:
    assert all_reduce(NETWORK, 1, 4000, how) == 0 == broadcast(NETWORK, 1, 4000)
    for workers in (2, 3, 8, 100):
        times = [all_reduce(NETWORK, workers, size, how) for size in (0, 1, 1e3, 1e6, 1e9)]
        assert times == sorted(times) and times[0] < times[-1]
        assert all_reduce(FREE, workers, 1e9, how) == 0


def test_a_ring_is_for_large_messages_and_a_tree_for_small_ones() -> None:
    for network in PRESETS.values():
        for workers in (8, 64, 100, 1024):
            assert all_reduce(network, workers, 1e12, "ring") < all_reduce(network, workers, 1e12, "tree")
            assert all_reduce(network, workers, 8, "tree") < all_reduce(network, workers, 8, "ring")
            best = min(all_reduce(network, workers, 1e6, how) for how in BEST)
            assert all_reduce(network, workers, 1e6) == best


def test_presets_tell_where_their_numbers_are_from() -> None:
    assert {"1gbe", "10gbe", "ib100", "nvlink", "wan"} <= PRESETS.keys()
    assert all(network.source and name == network.name for name, network in PRESETS.items())
    assert (PRESETS["wan"].alpha, PRESETS["wan"].beta) == (0.05, 12.5e6)
    rates = [PRESETS[name].beta for name in ("wan", "1gbe", "10gbe", "ib100", "nvlink")]
    assert rates == sorted(rates)


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("jitter", [0.0, 0.3])
def test_one_worker_only_computes(name: str, jitter: float) -> None:
    alone = replace(clock(name, 1), stragglers=Stragglers(jitter))
    assert alone.epoch() == TimeBreakdown(compute=640.0)
    assert alone.speedup() == alone.peak() == alone.efficiency() == 1


@pytest.mark.parametrize("name", COMMUNICATING)
def test_a_free_network_leaves_compute_and_labels(name: str) -> None:
    free = clock(name, 4, FREE)
    seconds = free.epoch()
    assert seconds.compute == pytest.approx(160.0) and seconds.wait == seconds.exchange == 0
    assert (seconds.label > 0) is (name == "ensemble")
    if name != "ensemble":
        assert free.speedup() == pytest.approx(4)


def test_averages_by_hand() -> None:
    seconds = clock(period=8).epoch()
    losses, models = 6 * (1e-3 + 16 * 4 / 4 / 1e6), 6 * (1e-3 + 1e-3)
    assert seconds.compute == pytest.approx(160.0)  # 1600 minibatches of each, 200 synchronizations
    assert seconds.exchange == pytest.approx(200 * (losses + models))
    assert clock(period=8).speedup() == pytest.approx(640 / seconds.total)
    own = replace(clock(period=8), work=replace(WORK, sync_seconds=0.01)).epoch()
    assert own.exchange == pytest.approx(seconds.exchange + 200 * 0.01)
    int8 = clock(period=8, comm_dtype="int8").epoch()
    small = 6 * (1e-3 + 0.25e-3) + 6 * (1e-3 + 1000 * 4 / 1024 / 4 / 1e6)
    assert int8.exchange == pytest.approx(200 * (losses + small))


def test_gradients_by_hand() -> None:
    assert clock("gradient").epoch().exchange == pytest.approx(1600 * 6 * (1e-3 + 1e-3))
    work = replace(WORK, sums=(AllReduce(4000), AllReduce(400, 0.25)))
    fisher = 6 * (1e-3 + 0.1e-3) / 4
    assert replace(clock("gradient"), work=work).epoch().exchange == pytest.approx(1600 * (6 * 2e-3 + fisher))


def test_an_ensemble_by_hand() -> None:
    """SyncScheduler of 400 minibatches; 160 of a share of 1600 are labelled by four models, a third of a step each."""
    seconds = clock("ensemble").epoch()
    losses, passing = 6 * (1e-3 + 16 * 4 / 4 / 1e6), broadcast(NETWORK, 4, 4000)
    assert seconds.label == pytest.approx(4 * 4 * 160 * 0.1 / 3)
    assert seconds.exchange == pytest.approx(4 * (losses + passing))  # the other three while one labels
    assert seconds.compute == pytest.approx(160.0)
    measured = replace(clock("ensemble"), work=replace(WORK, label_seconds=0.01)).epoch()
    assert measured.label == pytest.approx(4 * 4 * 160 * 0.01)
    posteriors = clock("ensemble", exchange="posteriors", top=16).epoch()
    assert posteriors.label == pytest.approx(4 * 160 * 0.1 / 3)
    talkative = replace(WORK, topk_seconds=0.001, aggregate_seconds=0.002)
    assert replace(clock("ensemble"), work=talkative).epoch().label == pytest.approx(seconds.label + 4 * 160 * 0.001)
    from_posteriors = replace(clock("ensemble", exchange="posteriors", top=16), work=talkative).epoch()
    assert from_posteriors.label == pytest.approx(posteriors.label + 4 * 160 * (2 * 0.001 + 4 * 0.002))
    assert posteriors.exchange == pytest.approx(4 * (losses + 4 * broadcast(NETWORK, 4, 4 * 16 * 1600)))


def test_labelling_all_of_it_bounds_an_ensembles_speedup() -> None:
    """However many they are, all models see a tenth of an epoch's frames in each of four rounds."""
    assert 6.5 < replace(clock("ensemble", 64, FREE), frames=1e9).speedup() < 1 / (4 * 0.1 / 3) == pytest.approx(7.5)


def test_colearning_meets_once_an_epoch() -> None:
    seconds = clock("colearn").epoch()
    assert seconds.exchange == pytest.approx(6 * (1e-3 + 16 * 4 / 4 / 1e6) + 6 * 2e-3)
    assert clock("colearn", local_epochs=2).epoch().exchange == pytest.approx(seconds.exchange / 2)


@pytest.mark.parametrize("name", ["average", "block-momentum", "elastic", "ensemble"])
@pytest.mark.parametrize("network", [NETWORK, *PRESETS.values()], ids=lambda network: network.name)
def test_overlap_is_never_slower_and_hides_no_more_than_it_has_time_for(name: str, network: Interconnect) -> None:
    for workers in (1, 2, 8, 256):
        for period in (1, 4, 100):
            at_once, hidden = (clock(name, workers, network, period=period, overlap=flag) for flag in (False, True))
            assert hidden.epoch().total <= at_once.epoch().total
            assert hidden.epoch().compute == at_once.epoch().compute
    slow = Interconnect("slow", 0.0, 4000 / 0.5, "made up")  # a model takes a ring of 4 0.75 s
    visible = 400 * (6 * 16 / 8000 + max(0.0, 0.75 - 0.4))
    assert clock("average", 4, slow, period=4, overlap=True).epoch().exchange == pytest.approx(visible)


@pytest.mark.parametrize("name", COMMUNICATING)
def test_more_bytes_a_slower_network_and_more_frequent_meetings_take_longer(name: str) -> None:
    def total(**changes: object) -> float:
        return replace(clock(name, 8), **changes).epoch().total  # type: ignore[arg-type]

    sizes = [total(work=replace(WORK, parameters=size)) for size in (1, 1000, 10**6, 10**8)]
    speeds = [total(network=replace(NETWORK, beta=beta)) for beta in (1e9, 1e6, 1e3)]
    latencies = [total(network=replace(NETWORK, alpha=alpha)) for alpha in (0.0, 1e-3, 1.0)]
    for times in (sizes, speeds, latencies):
        assert times == sorted(times) and times[0] < times[-1]
    if name in ("average", "block-momentum", "elastic"):
        often = [clock(name, 8, period=period).epoch().total for period in (256, 16, 1)]
        assert often == sorted(often)


def test_workers_of_equal_speed_do_not_wait() -> None:
    seconds = replace(clock(), stragglers=Stragglers(speeds=(1.0,) * 4)).epoch()
    assert seconds.wait == 0 and seconds == clock().epoch()
    one_slow = replace(clock(), stragglers=Stragglers(speeds=(1.0, 1.0, 1.0, 0.5))).epoch()
    assert one_slow.compute == pytest.approx(160 * 5 / 4) and one_slow.wait == pytest.approx(160 * 3 / 4)


@pytest.mark.parametrize("name", COMMUNICATING)
def test_an_epoch_is_as_long_as_the_largest_share(name: str) -> None:
    """Of two workers one has nine tenths of the data: there is no more to gain than a tenth."""
    even = clock(name, 2, FREE)
    uneven = replace(even, longest=2 * 0.9)
    assert uneven.epoch().total == pytest.approx(1.8 * even.epoch().total)
    assert uneven.epoch().compute == pytest.approx(even.epoch().compute)
    assert uneven.speedup() <= 1 / 0.9 + 1e-9 and uneven.epoch().wait > even.epoch().wait
    assert uneven.peak() == even.peak() == even.speedup()  # while both have data


def test_the_last_of_several_is_who_was_drawn_last() -> None:
    """Against log-normal numbers drawn by themselves."""
    random = np.random.default_rng(0)
    speeds, jitter, count = (1.0, 1.0, 0.9, 1.2), 0.3, 4
    variance = math.log1p(jitter**2 / count)
    drawn = random.lognormal(-variance / 2, math.sqrt(variance), (400_000, 4)) * count / np.array(speeds)
    mean, last = Stragglers(jitter, speeds).minibatches(4, count)
    assert mean == pytest.approx(drawn.mean(), rel=2e-3)
    assert last == pytest.approx(drawn.max(axis=1).mean(), rel=2e-3)
    # Of two normal ones: deviation / sqrt(pi)
    assert Stragglers(1e-3).minibatches(2, 1)[1] == pytest.approx(1 + 1e-3 / math.sqrt(math.pi), rel=1e-6)


def test_waiting_grows_with_workers_and_jitter_and_shrinks_with_the_period() -> None:
    def waits(jitter: float, workers: int, count: float) -> float:
        mean, last = Stragglers(jitter).minibatches(workers, count)
        return last / mean - 1

    for times in (
        [waits(0.1, workers, 1) for workers in (1, 2, 16, 1024, 10**6)],
        [waits(jitter, 16, 1) for jitter in (0.0, 0.01, 0.1, 1.0)],
        [waits(0.1, 16, count) for count in (1e6, 256, 16, 1)],
    ):
        assert times == sorted(times) and times[0] < times[-1] and min(times) >= 0
    jittery = replace(clock(period=1), stragglers=Stragglers(0.2))
    assert jittery.speedup() < clock(period=1).speedup() == jittery.peak()


def test_the_same_every_time() -> None:
    jittery = replace(clock(workers=37), stragglers=Stragglers(0.1))
    assert len({repr(jittery.epoch()) for _ in range(3)}) == 1


def test_where_workers_stop_paying() -> None:
    assert pays_up_to(clock("ensemble", network=FREE)) == 64  # 1/K + 1/7.5: the last that gains a tenth
    assert pays_up_to(clock(network=FREE)) == 4096  # 6400 workers have a minibatch each
    slow = Interconnect("slow", 1.0, math.inf, "made up")  # a message takes ten minibatches
    assert pays_up_to(replace(clock("gradient", network=slow), how="tree")) == 4096  # from 128 on faster than one
    assert pays_up_to(replace(clock("gradient", network=Interconnect("slower", 1e9, 1.0, "made up")), how="tree")) == 1
    served = replace(clock("gradient"), how="server")  # one port: 8 ms a worker and minibatch
    assert served.with_(workers=4096).speedup() < 640 / (6400 * 8e-3) < 13
    assert pays_up_to(served) in (32, 64)


def test_the_smallest_period_that_keeps_efficiency() -> None:
    for workers in (2, 16, 1000):
        found = smallest_period(clock(workers=workers))
        assert found is not None
        assert clock(workers=workers, period=found).efficiency() >= 0.9
        assert found == 1 or clock(workers=workers, period=found - 1).efficiency() < 0.9
    assert smallest_period(clock(network=FREE)) == 1
    never = replace(clock(workers=2), stragglers=Stragglers(speeds=(1.0, 0.5)))
    assert smallest_period(never) is None is smallest_period(clock("gradient")) is smallest_period(clock("colearn"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Interconnect("n", -1.0, 1.0, ""), "alpha -1.0"),
        (lambda: Interconnect("n", 0.0, 0.0, ""), "beta 0.0"),
        (lambda: Interconnect("n", 0.0, math.nan, ""), "beta nan"),
        (lambda: StepCost(0.0, 1, 1), "step of 0.0"),
        (lambda: StepCost(math.inf, 1, 1), "step of inf"),
        (lambda: StepCost(1.0, 0, 1), "minibatch of 0"),
        (lambda: Stragglers(-0.1), "jitter -0.1"),
        (lambda: Stragglers(math.nan), "jitter nan"),
        (lambda: Stragglers(speeds=(1.0, 0.0)), "speeds"),
        (lambda: replace(clock(), stragglers=Stragglers(speeds=(1.0,))).epoch(), "1 speeds for 4 workers"),
        (lambda: replace(clock(), how="butterfly").epoch(), "unknown collective 'butterfly'; expected best or one of"),
        (lambda: replace(clock(), frames=39.0).epoch(), "expected at least one minibatch of 10 each"),
    ],
)
def test_bad_input(make: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()  # type: ignore[operator]


def test_a_model_is_given_what_a_network_really_sends() -> None:
    """Against what algorithm gradient counts of itself."""
    spec = dnn(5, 1, 2, 24, 7, "relu")
    assert spec.num_parameters == StackedNetwork(spec).parameters.shape[1]
    gradient, fisher, squares = gradient_sums(spec, "ng-sgd")
    assert gradient.bytes == 4 * spec.num_parameters and gradient.times == 1
    # Inputs of 15, 24, 24 and a 1, at most half of them up to 20; outputs of 24, 24, 7, up to 80
    assert fisher == AllReduce(4.0 * (8 * 16 + 2 * 13 * 25 + 2 * 12 * 24 + 4 * 7), 0.25)
    assert squares == AllReduce(4.0 * 6, 2.0)
    assert gradient_sums(spec, "sgd") == (gradient,)


def test_one_disturbed_block_is_no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = iter([4.0, 4.1, 3.9, 4.0, 12.0, *[1.0] * 15, *[0.5] * 5, *[1.0] * 15])
    monkeypatch.setattr(step_time, "timed", lambda work, device, clock: next(blocks))
    step = measure_step(dnn(5, 1, 1, 8, 3, "relu"), 4, "sgd", "float32", "cpu", blocks=5)
    assert step.seconds == 1 and step.jitter == pytest.approx(1.4826 * 0.1 / 4 * 2)  # of four minibatches each
    # Short blocks are measured until there are enough of them
    longer = measure_step(dnn(5, 1, 1, 8, 3, "relu"), 4, "sgd", "float32", "cpu", blocks=2, least_seconds=2.5)
    assert longer.seconds == 0.125 and longer.label_seconds == 0.25


def test_time_that_a_thread_waits_for_a_core_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    clocks = []

    def second(work: object, device: torch.device, clock: Callable[[], float]) -> float:
        clocks.append(clock)
        return 1.0

    monkeypatch.setattr(step_time, "timed", second)
    measure_step(dnn(5, 1, 1, 8, 3, "relu"), 4, "sgd", "float32", "cpu", blocks=2)
    assert set(clocks) == {time.thread_time}
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    measure_step(dnn(5, 1, 1, 8, 3, "relu"), 4, "sgd", "float32", "cpu", blocks=2)
    assert set(clocks) == {time.thread_time, time.perf_counter}


@pytest.mark.parametrize("optimizer", ["ng-sgd", "momentum"])
def test_steps_are_measured(optimizer: str) -> None:
    spec = dnn(5, 1, 1, 8, 3, "relu")
    step = measure_step(spec, 4, optimizer, "float32", "cpu", replicas=2, blocks=2, least_seconds=0.0)
    assert min(step.seconds, step.label_seconds, step.topk_seconds, step.aggregate_seconds) > 0 and step.jitter >= 0
    sync_seconds = measure_sync(spec, WorkerOptions(2, "elastic"), 4, optimizer, "float32", "cpu", blocks=2)
    work = work_of(spec, 4, optimizer, step, sync_seconds)
    assert (work.step_seconds, work.label_seconds, work.sync_seconds) == (
        step.seconds,
        step.label_seconds,
        sync_seconds,
    )
    assert (work.topk_seconds, work.aggregate_seconds) == (step.topk_seconds, step.aggregate_seconds)
    with pytest.raises(ValueError, match="minibatch 0"):
        measure_step(spec, 0)
