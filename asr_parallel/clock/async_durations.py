"""Durations of asynchronous workers' actions, and the time of an epoch by the queue of their events."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from asr_parallel.parallel.asynchronous.algorithm import AsyncAlgorithm
from asr_parallel.parallel.asynchronous.leases import Leases
from asr_parallel.parallel.asynchronous.simulation import Timeline

STEP, MESSAGE = 0, 1  # purposes of random numbers
DRAWN = 64  # at once: to seed a generator takes longer
PAUSE_EVERY = 100  # minibatches
FLOPS = 1e11  # a second, where no time of a minibatch is given: about a core; ours
PRODUCTS = 6  # operations a parameter and frame: three products, a multiplication and an addition each


@dataclass(frozen=True, slots=True)
class RandomDurations:
    """Durations that follow from a seed, the worker and the number of the action: in any order, they are the same.

    step_seconds: of a minibatch, mean; latency_seconds: of a message beside its bytes; transfer: of its bytes.
    jitter: deviation of either over its mean, log-normal.
    speeds: of the workers, 1 that of step_seconds; None: all have it.
    pause: minibatches' time that the last worker stands still after every PAUSE_EVERY of its minibatches.
    """

    workers: int
    step_seconds: float
    latency_seconds: float
    transfer: float
    jitter: float = 0.0
    speeds: tuple[float, ...] | None = None
    pause: float = 0.0
    seed: int = 0

    def minibatches(self, worker: int, first: int, count: int) -> float:
        """Return seconds of minibatches. A sum of log-normal times is taken as log-normal, see Stragglers."""
        seconds = count * self.step_seconds * self._factor(STEP, worker, first, count)
        if self.speeds is not None:
            seconds /= self.speeds[worker]
        if self.pause and worker == self.workers - 1:
            seconds += ((first + count) // PAUSE_EVERY - first // PAUSE_EVERY) * self.pause * self.step_seconds
        return seconds

    def latency(self, worker: int, number: int) -> float:
        return self.latency_seconds * self._factor(MESSAGE, worker, number, 1)

    def _factor(self, purpose: int, worker: int, number: int, count: int) -> float:
        """Return a time over its mean."""
        if not self.jitter:
            return 1.0
        variance = math.log1p(self.jitter**2 / count)  # of the logarithm
        normal = _normals(self.seed, purpose, worker, number // DRAWN)[number % DRAWN]
        return math.exp(math.sqrt(variance) * normal - variance / 2)


@lru_cache(maxsize=16384)
def _normals(seed: int, purpose: int, worker: int, block: int) -> list[float]:
    seeded = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, worker, block)))
    return [float(number) for number in seeded.normal(size=DRAWN)]


def simulated_durations(
    rule: AsyncAlgorithm, workers: int, parameters: int, minibatch: int, seed: int
) -> RandomDurations:
    """Return the durations that the rule's options sim_... describe.

    Args:
        parameters: of the model. minibatch: frames. seed: of the training.
    """
    options = rule.options
    straggler = options.sim_straggler
    return RandomDurations(
        workers,
        options.sim_step_seconds or PRODUCTS * parameters * minibatch / FLOPS,
        options.sim_latency,
        4.0 * parameters / options.sim_bandwidth,
        options.sim_jitter,
        None if straggler == 1 else (*[1.0] * (workers - 1), 1 / straggler),
        options.sim_pause,
        seed,
    )


def make_timeline(
    rule: AsyncAlgorithm, counts: list[int], epochs: int, durations: RandomDurations, whole_periods: bool = False
) -> Timeline:
    """Return the actions of a training by a rule.

    Args:
        counts: minibatches of each worker's share in an epoch.
    """
    assert rule.period is not None
    leases = Leases(counts, epochs, rule.period)
    return Timeline(rule.exchange, rule.period, leases, len(counts), durations, whole_periods)
