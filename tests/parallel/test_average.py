"""Averaging, what all algorithms have in common, and averages that come one round late."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_ins import Models, meeting, random_models

from asr_parallel.parallel.algorithms import algorithm
from asr_parallel.parallel.options import ALGORITHMS, WorkerOptions
from asr_parallel.parallel.sync_scheduler import SyncScheduler
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.training.options import TrainingOptions

FEW = settings(deadline=None, max_examples=20)


def train(options: WorkerOptions, rounds: int, start: torch.Tensor, gain: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Models (K, P) of identical workers on identical data after so many rounds, and the final model."""
    models, group = Models(start.repeat(options.workers, 1)), WorkerGroup(options.workers)
    of = algorithm(options, epochs=99)
    of.start(models, group)
    meetings = SyncScheduler(of, group, models)
    for t in range(rounds):
        models.parameters.mul_(1 - gain).add_(0.1 * t)
        meetings.trained(models, np.full(options.workers, 8), None, 0.1)
    return models.parameters, meetings.finish(models)


@FEW
@given(st.integers(2, 7), st.integers(1, 33), st.integers(0, 10**6), st.sampled_from(ALGORITHMS), st.booleans())
def test_identical_workers_are_as_one(num_workers: int, size: int, seed: int, name: str, overlap: bool) -> None:
    """With constants that do not change with K; elastic workers are alike, and their centre is what one would pull."""
    more = {"period": 1, "overlap": overlap} if name in ("average", "block-momentum", "elastic") else {}
    more |= {"outer_momentum": 0.4} if name == "block-momentum" else {}
    more |= {"relabel_fraction": 1.0} if name == "ensemble" else {}  # of a single minibatch
    start = random_models(1, size, seed)
    found, final = train(WorkerOptions(workers=num_workers, algorithm=name, **more), 6, start, 0.1)
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
        alone, of_one = train(WorkerOptions(algorithm=name, **more), 6, start, 0.1)
    if not (overlap and name == "average"):  # where one worker alone has no meetings, late or not
        torch.testing.assert_close(found[:1], alone)
    torch.testing.assert_close(final, of_one)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_one_worker_is_ordinary_training(name: str) -> None:
    """Elastic's worker is tied to a centre even alone."""
    models, group = Models(random_models(1, 7, 0)), WorkerGroup(1)
    before = models.parameters.clone()
    of = algorithm(WorkerOptions(algorithm=name))
    of.start(models, group)
    if of.meets and of.period is not None:
        of.synchronize(models, meeting([5]))
    assert torch.equal(models.parameters, before)
    assert torch.equal(SyncScheduler(of, group, models).finish(models), before[0])
    assert of.worker_lr_scale(1) == 1


def test_a_worker_without_frames_does_not_pull() -> None:
    models = Models(torch.tensor([[1.0, 2.0], [3.0, 4.0], [100.0, 100.0]]))
    average = algorithm(WorkerOptions(workers=3))
    average.start(models, WorkerGroup(3))
    average.synchronize(models, meeting([10, 30, 0]))
    assert models.parameters.tolist() == [[2.5, 3.5]] * 3 and models.changes == 1


def test_a_model_left_out_is_replaced() -> None:
    models = Models(torch.tensor([[1.0], [torch.nan], [4.0]]))
    average = algorithm(WorkerOptions(workers=3, weights="equal"))
    average.start(models, WorkerGroup(3))
    average.synchronize(models, meeting([10, 10, 30], kept=[True, False, True]))
    assert models.parameters.tolist() == [[2.5]] * 3


@FEW
@given(st.integers(1, 8), st.integers(0, 10**6))
def test_workers_rates_times_the_number_keep_the_effective_one(num_workers: int, seed: int) -> None:
    """A mean of K models that took steps of K times the rate is one step by the sum of their gradients."""
    start, gradients = random_models(1, 9, seed), random_models(num_workers, 9, seed + 1)
    for name in ("average", "block-momentum"):
        options = WorkerOptions(workers=num_workers, algorithm=name, outer_momentum=0.0 if name != "average" else None)
        of, effective = algorithm(options), 0.01
        models = Models(start.repeat(num_workers, 1))
        of.start(models, WorkerGroup(num_workers))
        factor = of.worker_lr_scale(num_workers) if name == "average" else num_workers
        models.parameters -= effective * factor * gradients
        of.synchronize(models, meeting([4] * num_workers))
        torch.testing.assert_close(models.parameters[0], start[0] - effective * gradients.sum(dim=0))


def test_who_scales_its_workers_rate() -> None:
    """Block momentum makes K of a block's mean by its outer gain, so it must not; a summed gradient need not."""
    scaled = {name for name in ALGORITHMS if algorithm(WorkerOptions(algorithm=name)).worker_lr_scale(4) == 4}
    assert scaled == {"average", "elastic", "colearn"}


def test_options_name_the_effective_rate() -> None:
    schedule = TrainingOptions(learning_rate=0.002, schedule="constant").make_schedule(1000, 4.0, 1.0)
    assert schedule.learning_rate(0) == pytest.approx(0.008)


def test_an_overlapped_mean_comes_one_round_late_with_what_was_learnt_since() -> None:
    models, group = Models(torch.tensor([[0.0], [0.0]])), WorkerGroup(2)
    average = algorithm(WorkerOptions(workers=2, overlap=True))
    average.start(models, group)
    models.parameters += torch.tensor([[2.0], [6.0]])
    average.synchronize(models, meeting([1, 1]))
    assert models.parameters.tolist() == [[2], [6]]  # nothing to take in yet; offered
    models.parameters += torch.tensor([[1.0], [-1.0]])
    average.synchronize(models, meeting([1, 1], number=1))
    assert models.parameters.tolist() == [[4 + 1], [4 - 1]]
    average.flush(models)
    assert models.parameters.tolist() == [[4], [4]]
    average.flush(models)  # nothing is under way any more
    assert models.parameters.tolist() == [[4], [4]]


def test_an_overlapped_mean_goes_without_who_was_left_out() -> None:
    models, group = Models(torch.zeros(3, 1)), WorkerGroup(3)
    average = algorithm(WorkerOptions(workers=3, overlap=True))
    average.start(models, group)
    models.parameters += torch.tensor([[2.0], [torch.nan], [6.0]])
    average.synchronize(models, meeting([1, 1, 1], kept=[True, False, True]))
    assert models.parameters[::2].tolist() == [[2], [6]]  # the other is not helped before the first mean is there
    models.parameters += 1.0
    average.synchronize(models, meeting([1, 1, 1], number=1, kept=[True, False, True]))
    assert models.parameters.tolist() == [[5], [4], [5]]


def test_what_is_out_of_range() -> None:
    with pytest.raises(ValueError, match="unknown algorithm 'gossip'; expected one of average, block-momentum"):
        algorithm(WorkerOptions(algorithm="gossip"))
    with pytest.raises(ValueError, match="averaging period -1: expected at least 1 minibatch"):
        algorithm(WorkerOptions(period=-1))
    with pytest.raises(ValueError, match="overlap goes with comm_dtype float32, not int8"):
        algorithm(WorkerOptions(comm_dtype="int8", overlap=True))
