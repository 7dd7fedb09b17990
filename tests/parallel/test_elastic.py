"""Elastic averaging: what an exchange conserves, its constants, where it is stable, EAMSGD."""

import math

import numpy as np
import pytest
import torch
from gradients import gradient
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_ins import Models, random_models, scheduler, started, sync_info

from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.optimizers import optimizer
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.parallel.algorithms.elastic import ElasticOptions
from asr_parallel.parallel.synchronizer import Synchronizer

BETA = ElasticOptions().elastic_beta
FEW = settings(deadline=None, max_examples=25)


def begin(models: Models, beta: float = BETA) -> Synchronizer:
    return started(models, algorithm="elastic", period=1, elastic_beta=beta)


@FEW
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=8), st.integers(0, 10**6))
def test_an_exchange_conserves_the_sum_of_workers_and_centre(workers: list[tuple[int, bool]], seed: int) -> None:
    """Whoever is missing; of workers that are kept, as one that is not starts anew from the centre."""
    num_workers = len(workers)
    models = Models(random_models(1, 7, seed).repeat(num_workers, 1))
    elastic = begin(models)
    for t in range(3):
        models.parameters += random_models(num_workers, 7, seed + 1 + t)
        before = models.parameters.sum(dim=0) + elastic.algorithm.shared["center"]
        elastic.synchronize(models, sync_info([n for n, _ in workers], t))
        after = models.parameters.sum(dim=0) + elastic.algorithm.shared["center"]
        torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)


def test_both_updates_take_the_values_before_the_exchange() -> None:
    models = Models(torch.zeros(2, 1))
    elastic = begin(models, beta=0.5)  # alpha 0.25
    models.parameters += torch.tensor([[4.0], [8.0]])
    elastic.synchronize(models, sync_info([1, 1]))
    assert models.parameters.tolist() == [[3.0], [6.0]]
    assert elastic.algorithm.shared["center"].tolist() == [0.25 * (4 + 8)]
    elastic.synchronize(models, sync_info([1, 1], 1))
    assert models.parameters.tolist() == [[3.0], [6 - 0.75]]
    assert elastic.algorithm.shared["center"].tolist() == [3 + 0.25 * 3]


def test_a_workers_share_of_the_way_shrinks_with_their_number() -> None:
    """The centre's does not: (1 - beta) of itself and beta of the workers' mean."""
    assert BETA == 0.9
    for num_workers in (1, 2, 4, 16):
        models = Models(torch.zeros(num_workers, 1))
        elastic = begin(models)
        models.parameters += 1.0
        elastic.synchronize(models, sync_info([1] * num_workers))
        torch.testing.assert_close(models.parameters, torch.full((num_workers, 1), 1 - 0.9 / num_workers))
        torch.testing.assert_close(elastic.algorithm.shared["center"], torch.tensor([0.9]))


def test_a_worker_without_frames_is_left_alone() -> None:
    models = Models(torch.zeros(2, 1))
    elastic = begin(models, beta=0.5)
    models.parameters += torch.tensor([[4.0], [8.0]])
    elastic.synchronize(models, sync_info([1, 0]))
    assert models.parameters.tolist() == [[3.0], [8.0]]
    assert elastic.algorithm.shared["center"].tolist() == [1.0]


def test_a_worker_of_no_use_starts_again_from_the_centre() -> None:
    models = Models(torch.zeros(2, 1))
    elastic = begin(models, beta=0.5)
    models.parameters += torch.tensor([[4.0], [torch.nan]])
    elastic.synchronize(models, sync_info([1, 1], valid=[True, False]))
    assert models.parameters.tolist() == [[3.0], [1.0]]


def test_the_centre_is_the_model() -> None:
    models = Models(torch.zeros(2, 1))
    rounds = scheduler(models, algorithm="elastic", period=1)
    models.parameters += torch.tensor([[1.0], [3.0]])
    rounds.after_batch(models, np.array([1, 1]))
    torch.testing.assert_close(rounds.finish(models), torch.tensor([0.9 * 2]))


def test_an_exchange_after_the_step_against_the_papers_from_before_it() -> None:
    """Equations 5 and 6: x - eta g(x) - alpha (x - c) and c + alpha sum (x - c); ours has alpha eta g moved over."""
    num_workers, eta, alpha = 4, 0.1, 0.9 / 4
    models = Models(torch.zeros(num_workers, 5))
    elastic = begin(models)
    models.parameters += random_models(num_workers, 5, 1)
    elastic.algorithm.shared["center"].copy_(random_models(1, 5, 2)[0])
    x, c = models.parameters.clone(), elastic.algorithm.shared["center"].clone()
    g = (x - random_models(num_workers, 5, 3)) * random_models(num_workers, 5, 4).abs()  # of quadratics
    papers, papers_centre = x - eta * g - alpha * (x - c), c + alpha * (x - c).sum(dim=0)
    models.parameters -= eta * g
    elastic.synchronize(models, sync_info([1] * num_workers))
    torch.testing.assert_close(models.parameters, papers + alpha * eta * g)
    torch.testing.assert_close(elastic.algorithm.shared["center"], papers_centre - alpha * eta * g.sum(dim=0))


def test_the_centre_follows_at_once_and_workers_keep_their_own_for_long() -> None:
    """At beta 0.9 a tenth of the way is left to the centre; of 32 workers' deviations 46 % after 27 exchanges."""
    models = Models(torch.zeros(32, 5))
    elastic = begin(models)
    models.parameters += random_models(32, 5, 1)
    before = models.parameters.clone()
    for t in range(27):
        elastic.synchronize(models, sync_info([1] * 32, t))
        if t == 0:
            torch.testing.assert_close(elastic.algorithm.shared["center"], 0.9 * before.mean(dim=0))
    own = (models.parameters - models.parameters.mean(dim=0)) / (before - before.mean(dim=0))
    assert own.min().item() == pytest.approx(0.46, abs=0.005) and own.max().item() == pytest.approx(0.46, abs=0.005)


def swings(num_workers: int, beta: float, left: float, rounds: int) -> float:
    """Distance from the optimum, 0, after rounds of steps that leave `left` of a worker's distance, from 1."""
    models = Models(torch.ones(num_workers, 1))
    elastic = begin(models)
    elastic.algorithm._alpha = beta / num_workers  # past the check
    for t in range(rounds):
        models.parameters *= left
        elastic.synchronize(models, sync_info([1] * num_workers, t))
    return float(models.parameters.abs().max()) + float(elastic.algorithm.shared["center"].abs())


@pytest.mark.parametrize("num_workers", [1, 2, 4, 8])
@pytest.mark.parametrize("left", [0.95, 0.5, 0.0, -0.5, -0.95])
def test_a_quadratic_converges_within_the_bound_whatever_stable_step_is_taken(num_workers: int, left: float) -> None:
    most = 2 / (1 + 1 / num_workers)
    for share in (0.05, 0.5, 0.95):
        assert swings(num_workers, share * most, left, 600) < 0.05


@pytest.mark.parametrize("num_workers", [1, 2, 4, 8])
def test_a_flat_quadratic_diverges_beyond_the_bound(num_workers: int) -> None:
    assert swings(num_workers, 1.1 * 2 / (1 + 1 / num_workers), 0.999, 300) > 100


@pytest.mark.parametrize("num_workers", [1, 2, 8])
def test_an_unstable_beta_is_refused(num_workers: int) -> None:
    most = 2 / (1 + 1 / num_workers)
    for beta in (0.0, -1.0, math.nan, most * 1.01):
        with pytest.raises(ValueError, match=r"elastic_beta .*: expected (above 0 and at most|a number above 0)"):
            begin(Models(torch.zeros(num_workers, 1)), beta)
    begin(Models(torch.zeros(num_workers, 1)), most)


SPEC = dnn(frame_dim=4, context=0, hidden_layers=1, hidden_dim=6, num_pdfs=3, nonlinearity="tanh")


def test_with_nesterovs_momentum_in_the_workers_it_is_eamsgd() -> None:
    """v = delta v - eta g(x + delta v); x = x + v; and every tau steps x = x - alpha (x - centre)."""
    delta, rate, tau, num_workers = 0.9, 0.05, 3, 2
    ours, theirs = StackedNetwork(SPEC, num_workers).initialise(0), StackedNetwork(SPEC, num_workers).initialise(0)
    of = optimizer("nesterov", ours, None, delta)
    rounds = scheduler(ours, optimizer=of, algorithm="elastic", elastic_beta=0.8, period=tau)
    elastic = rounds.synchronizer
    x, v, centre = ours.parameters.clone(), torch.zeros_like(ours.parameters), ours.parameters[0].clone()
    draw = torch.Generator().manual_seed(1)
    for t in range(12):
        frames = torch.randn(num_workers, 16, 4, generator=draw)
        labels = torch.randint(0, 3, (num_workers, 16), generator=draw)
        of.step(ours.backward(frames, labels), rate)
        rounds.after_batch(ours, np.full(num_workers, 16), None, rate)
        theirs.parameters.copy_(x + delta * v)
        v = delta * v - rate * (1 - delta) * gradient(theirs, frames, labels)
        x = x + v
        if t % tau == tau - 1:
            pull = 0.4 * (x - centre)
            x, centre = x - pull, centre + pull.sum(dim=0)
        torch.testing.assert_close(ours.parameters, x + delta * v, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(elastic.algorithm.shared["center"], centre, rtol=1e-4, atol=1e-5)
