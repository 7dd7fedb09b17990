"""Means over workers: every parameter, every comm_dtype, any assignment of workers, the rounding residual."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_ins import random_models, together
from torch import Tensor

from asr_parallel.parallel.comm_dtypes import COMM_DTYPES, SUMS
from asr_parallel.parallel.transport import Transport
from asr_parallel.parallel.weighted_mean import BLOCK, WeightedMean
from asr_parallel.parallel.worker_group import WorkerGroup

ODD = st.sampled_from([1, 2, 7, 63, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3])
FEW = settings(deadline=None, max_examples=25)


def some_weights(num_workers: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    weights = random.integers(0, 5, num_workers).astype(float)
    weights[random.integers(num_workers)] += 1
    return weights


def true_mean(values: Tensor, weights: np.ndarray) -> np.ndarray:
    return (weights[:, None] * values.double().numpy()).sum(0) / weights.sum()


@FEW
@given(st.integers(1, 9), ODD, st.integers(0, 10**6), st.sampled_from([*COMM_DTYPES, "exact"]))
def test_every_parameter_is_visited_and_weighted(num_workers: int, size: int, seed: int, comm_dtype: str) -> None:
    values, weights = random_models(num_workers, size, seed), some_weights(num_workers, seed)
    around, before = values[0] + 0.01, values.clone()
    found = WeightedMean(WorkerGroup(num_workers), comm_dtype, values).of(
        values, weights, around if comm_dtype in SUMS else None
    )
    allowed = 1e-6
    if comm_dtype in SUMS:  # each worker is wrong by half a unit at most
        shares = torch.from_numpy(weights / weights.sum()).float()
        greatest = (shares[:, None] * (values - around)).abs().max().item()
        allowed += num_workers * 0.5 * greatest / (SUMS[comm_dtype] // num_workers)
    np.testing.assert_allclose(found.numpy(), true_mean(values, weights), rtol=1e-5, atol=allowed)
    assert torch.equal(values, before)


@pytest.mark.parametrize("comm_dtype", [*COMM_DTYPES, "exact"])
def test_a_worker_of_weight_0_is_not_looked_at(comm_dtype: str) -> None:
    values = random_models(3, 5, 0)
    values[1] = torch.nan
    mean = WeightedMean(WorkerGroup(3), comm_dtype, values)
    for _ in range(2):
        found = mean.of(values, np.array([1.0, 0.0, 3.0]), values[0])
        np.testing.assert_allclose(found.numpy(), (values[0] + 3 * values[2]).numpy() / 4, rtol=0.1, atol=0.1)


@FEW
@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 10**6), st.sampled_from(["exact", *SUMS]), st.data())
def test_integers_sum_the_same_however_workers_are_dealt(
    num_workers: int, size: int, seed: int, comm_dtype: str, data: st.DataObject
) -> None:
    size = min(size, num_workers)
    values, weights = random_models(num_workers, 11, seed), some_weights(num_workers, seed)
    order = data.draw(st.permutations(range(num_workers)))
    cuts = [rank * num_workers // size for rank in range(size + 1)]
    dealt = tuple(tuple(order[a:b]) for a, b in pairwise(cuts))

    def two_means(transport: Transport, how: tuple[tuple[int, ...], ...] | None = dealt) -> list[Tensor]:
        group = WorkerGroup(num_workers, transport, how)
        own = values[list(group.local_workers)]
        mean = WeightedMean(group, comm_dtype, own)
        return [mean.of(own * step, weights, torch.zeros(11)) for step in (1, 2)]

    alone = together(1, lambda transport: two_means(transport, None))[0]
    for found in together(size, two_means):
        assert torch.equal(found[0], alone[0]) and torch.equal(found[1], alone[1])


@pytest.mark.parametrize("comm_dtype", SUMS)
def test_the_greatest_sum_is_still_exact(comm_dtype: str) -> None:
    """All of as many workers as can be, at the greatest number at once."""
    num_workers = SUMS[comm_dtype]
    values = torch.full((num_workers, 3), 5.0)
    found = WeightedMean(WorkerGroup(num_workers), comm_dtype, values).of(
        values, np.ones(num_workers), torch.full((3,), 2.0)
    )
    torch.testing.assert_close(found, torch.full((3,), 5.0), rtol=1e-5, atol=0)


@FEW
@given(st.sampled_from(list(SUMS)), st.integers(1, 7), st.integers(0, 10**6))
def test_what_is_not_sent_now_is_sent_later(comm_dtype: str, num_workers: int, seed: int) -> None:
    values, rounds = random_models(num_workers, 13, seed), 20
    mean, around = WeightedMean(WorkerGroup(num_workers), comm_dtype, values), torch.zeros(13)
    sent, wanted = torch.zeros(13, dtype=torch.float64), np.zeros(13)
    for t in range(rounds):
        weights = some_weights(num_workers, seed + t)
        sent += mean.of(values * (1 + t % 3), weights, around).double()
        wanted += true_mean(values * (1 + t % 3), weights)
    assert mean.residual is not None
    left = mean.residual.double().sum(dim=0)
    np.testing.assert_allclose((sent + left).numpy(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("comm_dtype", SUMS)
def test_the_mean_over_many_rounds_converges(comm_dtype: str) -> None:
    values = random_models(5, 200, 0)
    mean, wanted = WeightedMean(WorkerGroup(5), comm_dtype, values), true_mean(values, np.ones(5))
    found = [mean.of(values, np.ones(5), torch.zeros(200)).double().numpy() for _ in range(200)]
    once = np.abs(found[0] - wanted).max()
    assert np.abs(np.mean(found, axis=0) - wanted).max() < 0.03 * once


@pytest.mark.parametrize("comm_dtype", SUMS)
def test_small_blocks_beside_large_ones_have_units_of_their_own(comm_dtype: str) -> None:
    values = random_models(2, 2 * BLOCK, 0)
    values[:, :BLOCK] *= 1e-6
    found = WeightedMean(WorkerGroup(2), comm_dtype, values).of(values, np.ones(2), torch.zeros(2 * BLOCK))
    wrong = np.abs(found.numpy() - true_mean(values, np.ones(2)))
    assert wrong[:BLOCK].max() < 1e-7 and wrong[BLOCK:].max() > 1e-5


@pytest.mark.parametrize("comm_dtype", SUMS)
def test_models_that_have_not_moved_stay(comm_dtype: str) -> None:
    values = random_models(1, 9, 0).repeat(3, 1)
    assert torch.equal(WeightedMean(WorkerGroup(3), comm_dtype, values).of(values, np.ones(3), values[0]), values[0])


def test_bytes() -> None:
    size, scales = 2 * BLOCK + 1, 3 * 4
    for comm_dtype, parameter_bytes in {
        "float32": 4 * size,
        "float16": 2 * size + scales,
        "int8": size + scales,
    }.items():
        values = random_models(4, size, 0)
        mean = WeightedMean(WorkerGroup(4), comm_dtype, values)
        for turn in (1, 2):
            mean.of(values, np.ones(4), values[0])
            assert mean.bytes_per_worker == turn * parameter_bytes


def test_the_exact_mean_of_what_is_not_finite_is_not_either() -> None:
    values = torch.ones(2, 3)
    values[1, 2] = torch.inf
    assert WeightedMean(WorkerGroup(2), "exact", values).of(values, np.ones(2)).isnan().all()
    too_large = torch.full((2, 3), 3e7)
    assert WeightedMean(WorkerGroup(2), "exact", values).of(too_large, np.ones(2)).isnan().all()


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown comm_dtype 'float8'; expected one of float32, float16, int8"):
        WeightedMean(WorkerGroup(1), "float8", torch.zeros(1, 1))
    with pytest.raises(ValueError, match="comm_dtype int8: 128 workers, more than the 127 it can count"):
        WeightedMean(WorkerGroup(128), "int8", torch.zeros(128, 1))
    with pytest.raises(ValueError, match="comm_dtype float16: 2049 workers, more than the 2048 it can count"):
        WeightedMean(WorkerGroup(2049), "float16", torch.zeros(2049, 1))
