"""The modelled time of an epoch of asynchronous workers, by the queue of their events and no arithmetic."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

from asr_parallel.clock.async_durations import RandomDurations
from asr_parallel.clock.interconnect import Interconnect
from asr_parallel.clock.stragglers import Stragglers
from asr_parallel.parallel.asynchronous.leases import Leases
from asr_parallel.parallel.asynchronous.life import Phase
from asr_parallel.parallel.asynchronous.simulation import Timeline
from asr_parallel.parallel.cost import StepCost
from asr_parallel.parallel.registry import asynchronous

EXCHANGES = 16  # of a worker that are simulated, at most; as epochs have no end where workers wait, time is steady
ALL_EXCHANGES = 2_000  # of all workers, likewise
LEAST_EXCHANGES = 4
SIMULATED = 64  # workers, of more that are alike: their messages are so much longer, at most 1/32 of the time
ROUNDING = 1e-9


def async_epoch(
    algorithm: str,
    constants: Any,
    workers: int,
    minibatches: float,
    work: StepCost,
    network: Interconnect,
    stragglers: Stragglers,
) -> tuple[float, float, float]:
    """Return the seconds of an epoch in minibatches, waiting for the center's port or at the end, and in messages.

    Each is the mean of the workers.

    Args:
        constants: the algorithm's options. Of those of simulated workers, the straggler and the pause hold, and the
            jitter unless it is 0.
        minibatches: of a worker, mean.

    Raises:
        ValueError: constants that the number of workers forbids, or not as many speeds as workers.
    """
    rule = asynchronous(algorithm)(constants)
    rule.start(workers)
    assert rule.period is not None
    speeds = stragglers.speeds
    if speeds is not None and len(speeds) != workers:
        raise ValueError(f"{len(speeds)} speeds for {workers} workers: expected one each")
    if speeds is None and constants.sim_straggler != 1:
        speeds = (*[1.0] * (workers - 1), 1 / constants.sim_straggler)
    durations = RandomDurations(
        workers, work.step_seconds, network.alpha, 4.0 * work.parameters / network.beta,
        constants.sim_jitter or stragglers.jitter, speeds, constants.sim_pause,
    )  # fmt: skip
    rate, compute, exchange = _of_many(rule.exchange, rule.period, durations)
    total = workers * minibatches / rate
    wait = total * (1 - compute - exchange)
    return total * compute, wait if wait > ROUNDING * total else 0.0, total * exchange


def _of_many(exchange: tuple[Phase, Phase], period: int, durations: RandomDurations) -> tuple[float, float, float]:
    """Return what _simulate does; of many equal workers some are simulated, which keep the port as busy as all."""
    each = durations.workers / SIMULATED
    if each <= 1 or durations.speeds is not None or durations.pause:
        return _simulate(exchange, period, durations)
    some = replace(durations, workers=SIMULATED, transfer=durations.transfer * each)
    rate, compute, messages = _simulate(exchange, period, some)
    sent = 3 * some.latency_seconds + 2 * some.transfer
    own = 3 * durations.latency_seconds + 2 * durations.transfer  # the rest they wait
    return each * rate, compute, messages * own / sent if sent else 0.0


@lru_cache(maxsize=1024)
def _simulate(exchange: tuple[Phase, Phase], period: int, durations: RandomDurations) -> tuple[float, float, float]:
    """Return minibatches a second of all workers, and the parts of their time in minibatches and in messages.

    Each worker counts up to its last push.
    """
    workers = durations.workers
    exchanges = max(LEAST_EXCHANGES, min(EXCHANGES, ALL_EXCHANGES // workers))
    leases = Leases([2 * exchanges * period] * workers, 1, period)  # more than will be asked for
    timeline = Timeline(exchange, period, leases, workers, durations, whole_periods=True)
    steps, pushes, ends, counted = [0] * workers, [0] * workers, [0.0] * workers, [0] * workers
    left = exchanges * workers
    for event in timeline.run():
        steps[event.worker] += event.count
        if event.phase == Phase.PUSH:
            pushes[event.worker] += 1
            ends[event.worker], counted[event.worker] = event.seconds, steps[event.worker]
            left -= 1
            if not left:
                break
    rate = compute = messages = 0.0
    for worker in range(workers):
        if end := ends[worker]:
            rate += counted[worker] / end
            compute += durations.minibatches(worker, 0, counted[worker]) / end / workers
            messages += pushes[worker] * (3 * durations.latency_seconds + 2 * durations.transfer) / end / workers
    return rate, compute, messages
