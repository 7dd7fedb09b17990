"""Weights of workers in a synchronization, and which workers are left out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand_ins import sync_info

from asr_parallel.parallel.sync_info import DROP_WORSE, WorkerWeights, valid_workers
from asr_parallel.parallel.worker_options import WorkerOptions

NAN = float("nan")


def test_weights_by_frames_and_equal() -> None:
    brought = sync_info([10, 0, 30])
    assert WorkerWeights("frames").weights(brought).tolist() == [10, 0, 30]
    assert WorkerWeights("equal").weights(brought).tolist() == [1, 0, 1]


@given(
    st.lists(st.tuples(st.integers(0, 99), st.booleans()), min_size=1, max_size=9), st.sampled_from(["frames", "equal"])
)
def test_somebody_always_counts_and_nobody_left_out_does(workers: list[tuple[int, bool]], by: str) -> None:
    frames, kept = [n for n, _ in workers], [k for _, k in workers]
    if not any(kept):
        kept[0] = True
    weights = WorkerWeights(by).weights(sync_info(frames, valid=kept))
    assert weights.dtype == np.float64 and weights.sum() > 0 and (weights >= 0).all()
    assert not weights[~np.array(kept)].any()


def test_workers_that_all_have_not_trained_count_equally() -> None:
    for by in ("frames", "equal"):
        assert WorkerWeights(by).weights(sync_info([0, 0, 0], valid=[True, False, True])).tolist() == [1, 0, 1]


def test_the_best_alone_counts_in_the_first_meetings() -> None:
    """Kaldi's iteration 0: the best job's model, no mean."""
    weighing, loss = WorkerWeights("frames", best_first=2), [2.0, 1.0, NAN, 0.5]
    frames, kept = [5, 6, 7, 0], [True, True, False, True]
    for number, want in [(0, [0, 1, 0, 0]), (1, [0, 1, 0, 0]), (2, [5, 6, 0, 0])]:
        assert weighing.weights(sync_info(frames, number, loss=loss, valid=kept)).tolist() == want
    nobody = sync_info([0, 0], loss=[NAN, NAN])
    assert weighing.weights(nobody).tolist() == [1, 1]


def test_one_much_worse_than_the_best_is_left_out() -> None:
    """Kaldi: a job whose objective is worse than the best by more than 1.0 a frame."""
    assert DROP_WORSE == 1.0
    frames, sound = np.full(4, 9), np.ones(4, dtype=bool)
    assert valid_workers(frames, np.array([2.0, 3.0, 3.01, 1e9]), sound, 1.0).tolist() == [True, True, False, False]
    assert valid_workers(frames, np.array([2.0, 3.0, 3.01, 1e9]), sound, np.inf).all()


@pytest.mark.parametrize("bad", [NAN, np.inf, -np.inf])
def test_a_model_or_a_loss_that_is_not_finite_is_left_out(bad: float) -> None:
    loss = np.array([2.0, bad, 2.1])
    assert valid_workers(np.full(3, 9), loss, np.array([True, True, False]), 1.0).tolist() == [True, False, False]


def test_the_loss_of_one_left_out_is_no_measure() -> None:
    loss, sound = np.array([0.1, 2.0, 2.5]), np.array([False, True, True])
    assert valid_workers(np.full(3, 9), loss, sound, 1.0).tolist() == [False, True, True]


def test_one_that_has_not_trained_has_no_loss_and_is_kept() -> None:
    loss, sound = np.array([2.0, NAN, NAN]), np.array([True, True, False])
    assert valid_workers(np.array([9, 0, 0]), loss, sound, 1.0).tolist() == [True, True, False]
    assert valid_workers(np.zeros(2), np.full(2, NAN), np.ones(2, dtype=bool), 1.0).all()


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown weights 'loss'; expected one of frames, equal"):
        WorkerOptions(weights="loss")
    with pytest.raises(ValueError, match="best_first -1: expected a whole number of at least 0"):
        WorkerOptions(best_first=-1)
