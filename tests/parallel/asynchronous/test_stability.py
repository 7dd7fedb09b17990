"""Stability on F(x) = x^2 / 2 in round robin (Zhang, Choromanska & LeCun, section 3), by our workers and events."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from quadratic import PlainReplica, Workers, rule
from torch import Tensor

from asr_parallel.parallel.asynchronous.difference import PushesDifference
from asr_parallel.parallel.asynchronous.life import Phase
from asr_parallel.parallel.asynchronous.simulation import Timeline
from asr_parallel.parallel.asynchronous.worker import Worker


@dataclass(frozen=True)
class RoundRobin:
    """Messages that take no time, and workers of one speed whose first minibatches take unequally long."""

    transfer: float = 0.0

    def minibatches(self, worker: int, first: int, count: int) -> float:
        return count + (worker / 64 if first == 0 else 0.0)

    def latency(self, worker: int, number: int) -> float:
        return 0.0


def growth(alpha: float, eta: float, workers: int, rounds: int = 400) -> float:
    """How many times as far from 0 the center is at the end as in the middle, a round of all workers on average."""
    of = rule("async-elastic", workers, period=1, elastic_beta=alpha * workers)
    start = torch.ones(1, dtype=torch.float64)
    replicas = [PlainReplica(start, lambda x, n: x, eta) for _ in range(workers)]
    training = Workers(of, start, replicas, steps=rounds)
    timeline = Timeline(of.exchange, 1, training.port.leases, workers, RoundRobin())
    largest, order = [0.0, 0.0], []
    while (event := timeline.next_event()) is not None:
        worker = training.workers[event.worker]
        if event.phase == Phase.STEP:
            worker.step(replicas[event.worker].train)
        elif event.phase == Phase.PUSH:
            worker.push()
            order.append(event.worker)
            half = int(2 * training.center.version > rounds * workers)
            quarter = 4 * training.center.version % (2 * rounds * workers) > rounds * workers
            if quarter:
                largest[half] = max(largest[half], abs(float(training.center.params)))
        else:
            worker.fetch()
        timeline.go_on(event)
    assert order == list(range(workers)) * rounds
    assert set(training.center.staleness) == {0}
    return (largest[1] / largest[0]) ** (2 / rounds)


@pytest.mark.parametrize("workers", [1, 3, 8])
@pytest.mark.parametrize("eta", [0.1, 1.0, 1.9])
def test_alpha_is_stable_up_to_the_papers_bound_and_not_above(eta: float, workers: int) -> None:
    """|lambda| <= 1 if and only if 0 <= alpha <= (4 - 2 eta) / (4 - eta), whatever the number of workers."""
    bound = (4 - 2 * eta) / (4 - eta)
    assert growth(0.95 * bound, eta, workers) < 1
    assert growth(min(1.05 * bound, 1), eta, workers) > 1


@pytest.mark.parametrize("workers", [1, 3])
def test_eta_is_stable_up_to_2_and_not_above(workers: int) -> None:
    assert growth(0.01, 1.95, workers) < 1
    assert growth(0.01, 2.02, workers) > 1


class Admm(PushesDifference):
    """Round-robin ADMM with a linearised loss (the paper's section 3.1), as a rule of one worker.

    lambda <- lambda - (x - x~), then x <- (x - eta g + eta rho (lambda + x~)) / (1 + eta rho); x~ is the mean of all
    x - lambda.
    """

    period = 1

    def __init__(self, eta_rho: float, workers: int, start: Tensor) -> None:
        super().__init__()
        self.eta_rho, self.workers = eta_rho, workers
        self.multiplier, self.center_was, self.counted = torch.zeros_like(start), start.clone(), start.clone()

    def join(self, params: Tensor, kept: Tensor, center: Tensor) -> None:
        self.fetched(params, kept, center, alone=False)

    def fetched(self, params: Tensor, kept: Tensor, center: Tensor, alone: bool) -> None:
        self.center_was = center.clone()
        self.multiplier -= params - center

    def stepped(self, params: Tensor, kept: Tensor) -> bool:
        params.add_(self.multiplier + self.center_was, alpha=self.eta_rho).div_(1 + self.eta_rho)
        return True

    def message(self, params: Tensor, kept: Tensor) -> Tensor:
        before, self.counted = self.counted, params - self.multiplier
        return (self.counted - before) / self.workers


def test_admm_diverges_where_elastic_averaging_does_not() -> None:
    """The paper's example: eta 0.001, rho 2.5, 3 workers."""
    eta, rho, count, rounds = 0.001, 2.5, 3, 5000
    start = torch.full((1,), 1000.0, dtype=torch.float64)
    replicas = [PlainReplica(factor * start, lambda x, n: x, eta) for factor in (-1, 1, 3)]  # of the same mean
    training = Workers(Admm(eta * rho, count, start), start, replicas, steps=rounds)
    training.workers = [
        Worker(k, Admm(eta * rho, count, one.params), one, training.port) for k, one in enumerate(replicas)
    ]  # fmt: skip
    sizes = []
    for _ in range(rounds):
        for worker in range(count):
            assert [training.act(worker) for _ in range(3)] == ["FETCH", "STEP", "PUSH"]
        sizes.append(abs(float(training.center.params)))
    assert max(sizes[-500:]) > 5 * max(sizes[1500:2000]) > 0
    assert math.log(spectral_radius_of_admm(eta, rho, count)) > 0
    assert growth(eta * rho, eta, count, rounds=1000) < 1


def spectral_radius_of_admm(eta: float, rho: float, count: int) -> float:
    """Of the linear map of one round, by the formulas alone."""
    size = 2 * count + 1  # lambda^i, x^i, x~
    whole = np.eye(size)
    for i in range(count):
        multiplier, x, center = i, count + i, 2 * count
        step = np.eye(size)
        step[multiplier, [x, center]] = -1, 1
        step[x] = 0
        step[x] = (eta * rho * (step[multiplier] + np.eye(size)[center]) + (1 - eta) * np.eye(size)[x]) / (
            1 + eta * rho
        )
        step[center] = sum(step[count + j] - step[j] for j in range(count)) / count
        whole = step @ whole
    return float(np.abs(np.linalg.eigvals(whole)).max())
