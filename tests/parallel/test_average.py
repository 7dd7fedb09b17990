"""Averaging among the workers of one process and, by a stand-in for the others, of several."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr_parallel.parallel.algorithm import mean
from asr_parallel.parallel.algorithms import ALGORITHMS, algorithm
from asr_parallel.parallel.average import Average
from asr_parallel.parallel.rounds import Rounds
from asr_parallel.parallel.team import Team
from asr_parallel.parallel.transport import Alone


class Models:
    """What an algorithm asks of a StackedNetwork."""

    def __init__(self, parameters: Tensor) -> None:
        self.parameters, self.changes = parameters, 0

    def parameters_changed(self) -> None:
        self.changes += 1


class Seat(Alone):
    """A process whose sums the test finishes by hand."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self.given: list[Tensor] = []

    def sum(self, tensor: Tensor) -> None:
        self.given.append(tensor)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 9), st.integers(1, 70), st.integers(0, 10**6))
def test_every_parameter_is_visited_and_weighted(num_workers: int, size: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = torch.from_numpy(random.standard_normal((num_workers, size)).astype(np.float32))
    weights = random.integers(0, 5, num_workers)
    weights[random.integers(num_workers)] += 1
    expected = (weights[:, None] * values.double().numpy()).sum(0) / weights.sum()
    for exact in (False, True):
        found = mean(Team(num_workers), values, weights, exact)
        if num_workers > 1:
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(mean(Team(1), values[:1], np.ones(1)), values[0])


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 9), st.integers(2, 4), st.integers(0, 10**6))
def test_the_exact_mean_is_the_same_however_workers_are_dealt(num_workers: int, size: int, seed: int) -> None:
    size = min(size, num_workers)
    random = np.random.default_rng(seed)
    values = torch.from_numpy(random.standard_normal((num_workers, 11)).astype(np.float32))
    weights = random.integers(1, 50, num_workers)
    together = mean(Team(num_workers), values, weights, exact=True)
    seats = [Seat(rank, size) for rank in range(size)]
    for seat in seats:
        team = Team(num_workers, seat)
        mean(team, values[team.own.start : team.own.stop], weights, exact=True)
    assert [k for seat in seats for k in Team(num_workers, seat).own] == list(range(num_workers))
    fixed = sum(seat.given[0] for seat in reversed(seats))
    assert isinstance(fixed, Tensor)
    assert torch.equal((fixed[:-1].double() * 2.0**-40).float(), together)


def test_the_exact_mean_of_what_is_not_finite_is_not_either() -> None:
    values = torch.ones(2, 3)
    values[1, 2] = torch.inf
    assert mean(Team(2), values, np.ones(2), exact=True).isnan().all()
    assert mean(Team(2), torch.full((2, 3), 3e7), np.ones(2), exact=True).isnan().all()


def test_a_worker_without_frames_does_not_pull() -> None:
    models = Models(torch.tensor([[1.0, 2.0], [3.0, 4.0], [100.0, 100.0]]))
    average = Average(1)
    average.start(models, Team(3))
    average.synchronize(models, np.array([10, 30, 0]))
    assert models.parameters.tolist() == [[2.5, 3.5]] * 3 and models.changes == 1
    average.synchronize(models, np.zeros(3))  # nobody has trained
    assert models.changes == 1


def test_rounds_count_minibatches_over_epochs_and_checkpoints() -> None:
    models = Models(torch.tensor([[0.0], [4.0]]))
    average = Average(3)
    average.start(models, Team(2))
    rounds = Rounds(average, 2)
    met = [rounds.trained(models, np.array([8, 8])) for _ in range(4)]
    assert met == [False, False, True, False]
    again = Rounds(average, 2)
    again.restore(rounds.state())
    assert [again.trained(models, np.array([8, 0])) for _ in range(2)] == [False, True]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_one_worker_is_ordinary_training(name: str) -> None:
    models = Models(torch.randn(1, 7))
    before = models.parameters.clone()
    found = algorithm(name, None)
    found.start(models, Team(1))
    if found.period is not None:
        found.synchronize(models, np.array([5]))
    assert torch.equal(models.parameters, before) and torch.equal(found.finish(models), before[0])
    assert found.rate_factor(1) == 1


def test_what_is_out_of_range() -> None:
    with pytest.raises(ValueError, match="unknown algorithm 'gossip'; expected one of average, none"):
        algorithm("gossip", None)
    with pytest.raises(ValueError, match="averaging period -1"):
        algorithm("average", -1)
