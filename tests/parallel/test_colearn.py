"""Co-learning: rounds of whole epochs that double, the last one cut short, rates that start anew in each."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_ins import Models, scheduler

from asr_parallel.parallel.algorithm import Algorithm
from asr_parallel.parallel.sync_scheduler import SyncScheduler
from asr_parallel.parallel.worker_options import WorkerOptions
from asr_parallel.training.schedules import Cyclical
from asr_parallel.training.train_options import training_options

PER_EPOCH = 3  # minibatches


def begin(epochs: int, local_epochs: int, threshold: float) -> tuple[Models, Algorithm, SyncScheduler]:
    models = Models(torch.ones(2, 4))
    rounds = sites(models, epochs, local_epochs, threshold)
    return models, rounds.algorithm, rounds


def sites(models: Models, epochs: int, local_epochs: int, threshold: float) -> SyncScheduler:
    return scheduler(
        models, algorithm="colearn", local_epochs=local_epochs, colearn_threshold=threshold, epochs=epochs,
        minibatches=PER_EPOCH,
    )  # fmt: skip


def lengths(epochs: int, local_epochs: int, threshold: float, moves: list[float]) -> list[int]:
    """Epochs of each round, when the average moves by so much of its length in the rounds, the last for ever."""
    models, of, rounds = begin(epochs, local_epochs, threshold)
    seen, count = [], 0
    for _ in range(epochs * PER_EPOCH):
        count += 1
        assert of.round_epochs is not None and of.period == of.round_epochs * PER_EPOCH
        if count == of.period:
            models.parameters *= 1 + moves[min(len(seen), len(moves) - 1)]
        if rounds.after_batch(models, np.array([4, 4])):
            assert count % PER_EPOCH == 0
            seen.append(count // PER_EPOCH)
            count = 0
    assert count == 0  # the training ends with a synchronization
    return seen


def test_epochs_double_where_the_average_has_hardly_moved() -> None:
    assert lengths(20, 1, 0.1, [0.5, 0.05, 0.5, 0.05, 0.5]) == [1, 1, 2, 2, 4, 4, 4, 2]
    assert lengths(15, 1, 0.1, [0.01]) == [1, 2, 4, 8]


def test_the_last_round_is_cut_to_the_epochs_of_the_training() -> None:
    assert lengths(10, 2, 0.1, [0.01]) == [2, 4, 4]
    assert lengths(8, 3, 0.1, [0.5]) == [3, 3, 2]


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 30), st.integers(1, 5), st.lists(st.sampled_from([0.01, 0.3]), min_size=1, max_size=9))
def test_rounds_fill_the_epochs(epochs: int, local_epochs: int, moves: list[float]) -> None:
    found = lengths(epochs, min(epochs, local_epochs), 0.1, moves)
    assert sum(found) == epochs
    for one, following in pairwise(found[:-1]):
        assert following in (one, 2 * one)


def test_without_a_threshold_rounds_stay_as_they_are() -> None:
    assert lengths(6, 2, 0.0, [0.01]) == [2, 2, 2]


def test_sites_count_by_their_frames() -> None:
    models, of, rounds = begin(2, 1, 0.1)
    models.parameters += torch.tensor([[0.0], [4.0]])
    assert [rounds.after_batch(models, np.array([9, 3])) for _ in range(PER_EPOCH)] == [False, False, True]
    assert models.parameters.tolist() == [[2.0] * 4] * 2
    assert of.shared["previous"].tolist() == [2.0] * 4


def test_a_site_alone_has_rounds_too() -> None:
    """Their rates start anew and their optimiser's state is forgotten."""
    models = Models(torch.ones(1, 4))
    rounds = sites(models, 3, 1, 0.0)
    assert [rounds.after_batch(models, np.array([9])) for _ in range(2 * PER_EPOCH)] == [False, False, True] * 2


def test_restored_within_a_round_it_goes_on() -> None:
    models, of, rounds = begin(9, 1, 0.1)
    again_models, again, again_rounds = begin(9, 1, 0.1)
    for _ in range(2 * PER_EPOCH):
        rounds.after_batch(models, np.array([4, 4]))
    again_models.parameters.copy_(models.parameters)
    again_rounds.load_state_dict(rounds.state_dict())
    for _ in range(7 * PER_EPOCH):
        assert rounds.after_batch(models, np.array([4, 4])) == again_rounds.after_batch(again_models, np.array([4, 4]))
        assert of.round_epochs == again.round_epochs


@pytest.mark.parametrize("shape", ["exponential", "cosine"])
def test_rates_follow_the_rounds(shape: str) -> None:
    plan = Cyclical(total_frames=900, top=1.0, bottom=0.01, cycle_frames=None, shape=shape)  # type: ignore[arg-type]
    plan.new_round(0, 100)
    first = [plan.learning_rate(frames) for frames in (0, 25, 50, 75, 99)]
    assert first[0] == 1.0 and first == sorted(first, reverse=True) and first[-1] == pytest.approx(0.01, rel=0.1)
    plan.new_round(100, 200)
    assert [plan.learning_rate(frames) for frames in (100, 150, 200, 250, 298)] == pytest.approx(first)
    assert plan.learning_rate(300) == plan.learning_rate(350) == 0.01  # until the next synchronization
    again = Cyclical(total_frames=900, top=1.0, bottom=0.01, cycle_frames=None, shape=shape)  # type: ignore[arg-type]
    again.load_state_dict(plan.state_dict())
    assert again.learning_rate(150) == plan.learning_rate(150) and again.state_dict() == plan.state_dict()


def test_a_training_of_sites_has_such_rates_unless_told_otherwise() -> None:
    options = training_options(workers=2, algorithm="colearn", learning_rate=0.1)
    schedule = options.make_schedule(100, 1.0, 3.0)
    assert isinstance(schedule, Cyclical) and schedule.cycle_frames is None and schedule.top == 0.1
    other = training_options(workers=2, algorithm="colearn", schedule="exponential")
    assert not isinstance(other.make_schedule(100, 1.0, 3.0), Cyclical)
    assert WorkerOptions(algorithm="colearn").resolved_share_by == "speaker"


@pytest.mark.parametrize(("local_epochs", "threshold"), [(0, 0.1), (5, 0.1), (1, -0.1), (1, float("nan"))])
def test_numbers_out_of_range(local_epochs: int, threshold: float) -> None:
    with pytest.raises(ValueError, match=rf"(local_epochs {local_epochs}|colearn_threshold {threshold}): expected "):
        begin(4, local_epochs, threshold)
