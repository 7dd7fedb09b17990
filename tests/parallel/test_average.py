"""Averaging, what all algorithms have in common, and averages that come one round late."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_ins import Models, random_models, scheduler, started, sync_info

from asr_parallel.parallel.registry import ALGORITHMS, entry
from asr_parallel.parallel.worker_options import split
from asr_parallel.training.train_options import training_options

SYNCHRONOUS = [name for name in ALGORITHMS if not entry(name).cls.asynchronous]
FEW = settings(deadline=None, max_examples=20)


def train(
    num_workers: int, rounds: int, start: torch.Tensor, gain: float, **options: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Models (K, P) of identical workers on identical data after so many rounds, and the final model."""
    models = Models(start.repeat(num_workers, 1))
    schedule = scheduler(models, **options)
    for t in range(rounds):
        models.parameters.mul_(1 - gain).add_(0.1 * t)
        schedule.after_batch(models, np.full(num_workers, 8), None, 0.1)
    return models.parameters, schedule.finish(models)


@FEW
@given(st.integers(2, 7), st.integers(1, 33), st.integers(0, 10**6), st.sampled_from(SYNCHRONOUS), st.booleans())
def test_identical_workers_are_as_one(num_workers: int, size: int, seed: int, name: str, overlap: bool) -> None:
    """With constants that do not change with K; elastic workers are alike, and their centre is what one would pull."""
    more = {"period": 1, "overlap": overlap} if name in ("average", "block-momentum", "elastic") else {}
    more |= {"outer_momentum": 0.4} if name == "block-momentum" else {}
    more |= {"relabel_fraction": 1.0} if name == "ensemble" else {}  # of a single minibatch
    start = random_models(1, size, seed)
    found, final = train(num_workers, 6, start, 0.1, algorithm=name, **more)
    torch.testing.assert_close(found, found[:1].expand_as(found))
    if name == "elastic":
        if overlap:
            return
        alpha = 0.9 / num_workers
        x, centre = start.clone(), start.clone()
        for t in range(6):
            x = x * 0.9 + 0.1 * t
            x, centre = x - alpha * (x - centre), centre + 0.9 * (x - centre)
        alone, of_one = x, centre[0]
    else:
        alone, of_one = train(1, 6, start, 0.1, algorithm=name, **more)
    if not (overlap and name == "average"):  # where one worker alone has no synchronizations, late or not
        torch.testing.assert_close(found[:1], alone)
    torch.testing.assert_close(final, of_one)


@pytest.mark.parametrize("name", SYNCHRONOUS)
def test_one_worker_is_ordinary_training(name: str) -> None:
    """Elastic's worker is tied to a centre even alone."""
    models = Models(random_models(1, 7, 0))
    before = models.parameters.clone()
    rounds = scheduler(models, algorithm=name)
    if rounds.algorithm.exchanges_models and rounds.algorithm.period is not None:
        rounds.synchronizer.synchronize(models, sync_info([5]))
    assert torch.equal(models.parameters, before)
    assert torch.equal(rounds.finish(models), before[0])
    assert rounds.algorithm.worker_lr_scale(1) == 1


def test_a_worker_without_frames_does_not_pull() -> None:
    models = Models(torch.tensor([[1.0, 2.0], [3.0, 4.0], [100.0, 100.0]]))
    average = started(models)
    average.synchronize(models, sync_info([10, 30, 0]))
    assert models.parameters.tolist() == [[2.5, 3.5]] * 3 and models.changes == 1


def test_a_model_left_out_is_replaced() -> None:
    models = Models(torch.tensor([[1.0], [torch.nan], [4.0]]))
    average = started(models, weights="equal")
    average.synchronize(models, sync_info([10, 10, 30], valid=[True, False, True]))
    assert models.parameters.tolist() == [[2.5]] * 3


@FEW
@given(st.integers(1, 8), st.integers(0, 10**6))
def test_workers_rates_times_the_number_keep_the_effective_one(num_workers: int, seed: int) -> None:
    """A mean of K models that took steps of K times the rate is one step by the sum of their gradients."""
    start, gradients = random_models(1, 9, seed), random_models(num_workers, 9, seed + 1)
    for name in ("average", "block-momentum"):
        models, effective = Models(start.repeat(num_workers, 1)), 0.01
        of = started(models, algorithm=name, outer_momentum=0.0 if name != "average" else None)
        factor = of.algorithm.worker_lr_scale(num_workers) if name == "average" else num_workers
        models.parameters -= effective * factor * gradients
        of.synchronize(models, sync_info([4] * num_workers))
        torch.testing.assert_close(models.parameters[0], start[0] - effective * gradients.sum(dim=0))


def test_who_scales_its_workers_rate() -> None:
    """Block momentum makes K of a block's mean by its outer gain, so it must not; a summed gradient need not."""
    scaled = {name for name in ALGORITHMS if entry(name).cls(entry(name).options()).worker_lr_scale(4) == 4}
    assert scaled == {"average", "elastic", "colearn", "async-elastic"}


def test_options_name_the_effective_rate() -> None:
    schedule = training_options(learning_rate=0.002, schedule="constant").make_schedule(1000, 4.0, 1.0)
    assert schedule.learning_rate(0) == pytest.approx(0.008)


def test_an_overlapped_mean_comes_one_round_late_with_what_was_learnt_since() -> None:
    models = Models(torch.tensor([[0.0], [0.0]]))
    average = started(models, overlap=True)
    models.parameters += torch.tensor([[2.0], [6.0]])
    average.synchronize(models, sync_info([1, 1]))
    assert models.parameters.tolist() == [[2], [6]]  # nothing to take in yet; offered
    models.parameters += torch.tensor([[1.0], [-1.0]])
    average.synchronize(models, sync_info([1, 1], index=1))
    assert models.parameters.tolist() == [[4 + 1], [4 - 1]]
    average.flush(models)
    assert models.parameters.tolist() == [[4], [4]]
    average.flush(models)  # nothing is under way any more
    assert models.parameters.tolist() == [[4], [4]]


def test_an_overlapped_mean_goes_without_who_was_left_out() -> None:
    models = Models(torch.zeros(3, 1))
    average = started(models, overlap=True)
    models.parameters += torch.tensor([[2.0], [torch.nan], [6.0]])
    average.synchronize(models, sync_info([1, 1, 1], valid=[True, False, True]))
    assert models.parameters[::2].tolist() == [[2], [6]]  # the other is not helped before the first mean is there
    models.parameters += 1.0
    average.synchronize(models, sync_info([1, 1, 1], index=1, valid=[True, False, True]))
    assert models.parameters.tolist() == [[5], [4], [5]]


def test_what_is_out_of_range() -> None:
    with pytest.raises(ValueError, match="unknown algorithm 'gossip'; expected one of average, block-momentum"):
        split(algorithm="gossip")
    with pytest.raises(ValueError, match="period -1: expected a whole number of at least 1"):
        split(period=-1)
    with pytest.raises(ValueError, match="comm_dtype int8: expected float32 with overlap"):
        split(comm_dtype="int8", overlap=True)
