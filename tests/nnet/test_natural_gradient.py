"""Natural gradient against the derivation written out in dense float64 matrices, and what the derivation promises."""

import inspect
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr_parallel.nnet import fisher, natural_gradient
from asr_parallel.nnet.natural_gradient import OnlineNaturalGradient, precondition_together


class Dense:
    """F as the D x D matrix it stands for. Nothing is factored: T is formed, G inverted, R T decomposed."""

    def __init__(self, dim: int, rank: int, period: int, history: float, alpha: float) -> None:
        self.dim, self.rank = dim, min(rank, dim - 1)
        self.period, self.history, self.alpha = period, history, alpha
        self.epsilon, self.delta = 1e-10, 5e-4
        rows = np.zeros((self.rank, dim))
        for column in range(dim):
            rows[column % self.rank, column] = 1.1 if column < self.rank else 1.0
        self.R = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        self.F = self.epsilon * (np.eye(dim) + self.R.T @ self.R)
        self.t = 0

    def precondition(self, x: np.ndarray) -> np.ndarray:
        """scale * y."""
        if self.t == 0:
            for _ in range(1 if len(x) <= self.rank else 3):
                self.update(x)
        G = self.F + self.alpha / self.dim * np.trace(self.F) * np.eye(self.dim)
        y = x @ np.linalg.inv(G)
        if self.t <= 10 or (self.t - 10) % self.period == 0:
            self.update(x)
        self.t += 1
        return y * np.linalg.norm(x) / np.linalg.norm(y)

    def update(self, x: np.ndarray) -> None:
        eta = min(0.9, 1 - math.exp(-len(x) / self.history))
        T = eta * x.T @ x / len(x) + (1 - eta) * self.F
        _, variance, self.R = np.linalg.svd(self.R @ T, full_matrices=False)
        rest = (np.trace(T) - variance.sum()) / (self.dim - self.rank)
        least = max(self.epsilon, self.delta * variance[0])
        d = np.maximum(variance - rest, least)
        self.F = self.R.T @ np.diag(d) @ self.R + max(rest, least) * np.eye(self.dim)


def stream(calls: int, num_rows: int, dim: int, seed: int) -> list[np.ndarray]:
    """Minibatches with variances over two decades along directions that turn slowly."""
    random = np.random.default_rng(seed)
    mix = random.standard_normal((dim, dim)) * np.logspace(0, -2, dim)[:, None]
    turn = random.standard_normal((dim, dim)) * 0.01
    return [random.standard_normal((num_rows, dim)) @ mix @ (np.eye(dim) + k * turn / calls) for k in range(calls)]


def batch(x: np.ndarray, replicas: int = 1) -> Tensor:
    return torch.from_numpy(x).float().expand(replicas, -1, -1)


def relative(mine: Tensor, other: np.ndarray) -> float:
    return float(np.linalg.norm(mine.double().numpy() - other) / np.linalg.norm(other))


def directions(preconditioner: OnlineNaturalGradient) -> Tensor:
    """R (R, K, D) out of W."""
    rho, d = preconditioner.rho.double(), preconditioner.d.double()
    dim, alpha = preconditioner.dim, preconditioner.alpha
    beta = rho + alpha / dim * (dim * rho + d.sum(1))
    return preconditioner.W.double() * (1 + beta[:, None] / d).sqrt()[:, :, None]


@pytest.mark.parametrize(
    ("num_rows", "dim", "rank", "period", "alpha"),
    [
        (64, 50, 20, 4, 4.0),
        (40, 7, 3, 1, 4.0),
        (30, 5, 9, 1, 4.0),  # rank cut to dim - 1
        (128, 33, 8, 3, 0.0),
        (24, 64, 6, 2, 1.0),
        (16, 3, 1, 1, 4.0),
        (12, 2, 1, 4, 4.0),
    ],
)
def test_agrees_with_the_dense_derivation(num_rows: int, dim: int, rank: int, period: int, alpha: float) -> None:
    mine = OnlineNaturalGradient(1, dim, rank, period, alpha=alpha)
    dense = Dense(dim, rank, period, 2000.0, alpha)
    for x in stream(30, num_rows, dim, seed=dim):
        y, scale = mine.precondition(batch(x))
        assert relative(scale * y[0], dense.precondition(x)) < 2e-5


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    dim=st.integers(2, 24),
    rank=st.integers(1, 12),
    more_rows=st.integers(1, 40),
    history=st.sampled_from([20.0, 300.0, 2000.0, 1e5]),
    alpha=st.floats(0, 8),
    seed=st.integers(0, 2**31),
)
def test_agrees_with_the_dense_derivation_whatever_the_sizes(
    dim: int, rank: int, more_rows: int, history: float, alpha: float, seed: int
) -> None:
    mine = OnlineNaturalGradient(1, dim, rank, num_samples_history=history, alpha=alpha)
    dense = Dense(dim, rank, 1, history, alpha)
    for x in stream(6, dim + more_rows, dim, seed):
        y, scale = mine.precondition(batch(x))
        assert relative(scale * y[0], dense.precondition(x)) < 1e-4


def test_errors_do_not_grow_over_five_hundred_updates() -> None:
    mine, dense = OnlineNaturalGradient(1, 12, 4, num_samples_history=200.0), Dense(12, 4, 1, 200.0, 4.0)
    for x in stream(500, 16, 12, seed=1):
        y, scale = mine.precondition(batch(x))
        assert relative(scale * y[0], dense.precondition(x)) < 1e-5
    F = directions(mine).mT @ torch.diag_embed(mine.d.double()) @ directions(mine)
    assert relative((F + mine.rho * torch.eye(12))[0], dense.F) < 1e-5


def test_directions_stay_orthonormal_and_the_trace_is_kept() -> None:
    mine = OnlineNaturalGradient(2, 20, 6, num_samples_history=500.0)
    unfloored = 0
    for x in stream(40, 32, 20, seed=2):
        both = torch.stack([batch(x)[0], 3 * batch(x)[0].flip(0)])
        before = 20 * mine.rho.double() + mine.d.double().sum(1)
        mine.precondition(both)
        if mine.t > 1:  # the first call updates four times
            eta = 1 - math.exp(-32 / 500)
            wanted = eta / 32 * both.double().square().sum((1, 2)) + (1 - eta) * before
            least = mine.delta * (mine.rho + mine.d[:, 0])
            clear = (mine.rho > 1.01 * least) & (mine.d[:, -1] > 1.01 * least)
            unfloored += int(clear.sum())
            got = 20 * mine.rho.double() + mine.d.double().sum(1)
            torch.testing.assert_close(got[clear], wanted[clear], rtol=1e-5, atol=0)
        R = directions(mine)
        torch.testing.assert_close(R @ R.mT, torch.eye(6).double().expand(2, 6, 6), rtol=0, atol=1e-5)
    assert unfloored > 60


def test_scale_keeps_the_norm() -> None:
    mine = OnlineNaturalGradient(2, 9, 3, update_period=4)
    for x in stream(20, 50, 9, seed=3):
        y, scale = mine.precondition(batch(x, 2))
        assert y.double().norm() * float(scale[0]) == pytest.approx(float(batch(x, 2).double().norm()), rel=1e-6)


def test_dominant_directions_are_held_down() -> None:
    """The rest of the input keeps its shape; six directions of 25 times the variance lose most of their lead."""
    random = np.random.default_rng(4)
    spread = np.ones(60)
    spread[:6] = 5.0
    mine = OnlineNaturalGradient(1, 60, 6)
    for _ in range(30):
        x = random.standard_normal((200, 60)) * spread
        y, _ = mine.precondition(batch(x))
    energy = y[0].square().sum(0) / y.square().sum()
    assert (x[:, :6] ** 2).sum() / (x**2).sum() > 0.7
    assert energy[:6].sum() < 0.6
    torch.testing.assert_close(y[0, :, 6:], batch(x)[0, :, 6:], atol=0.2, rtol=0.05)


def test_updates_come_on_the_first_eleven_calls_and_then_every_period() -> None:
    mine = OnlineNaturalGradient(1, 8, 2, update_period=4)
    moved = []
    for call, x in enumerate(stream(24, 20, 8, seed=5)):
        before = mine.W.clone()
        mine.precondition(batch(x))
        if not torch.equal(before, mine.W):
            moved.append(call)
    assert moved == [*range(11), 14, 18, 22]


def test_replicas_are_independent_of_each_other() -> None:
    together = OnlineNaturalGradient(3, 15, 5, update_period=4)
    alone = [OnlineNaturalGradient(1, 15, 5, update_period=4) for _ in range(3)]
    streams = [stream(20, 25, 15, seed) for seed in (6, 7, 8)]
    for xs in zip(*streams, strict=True):
        y, scale = together.precondition(torch.cat([batch(x) for x in xs]))
        for r, x in enumerate(xs):
            own_y, own_scale = alone[r].precondition(batch(x))
            torch.testing.assert_close(y[r : r + 1], own_y, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(scale[r : r + 1], own_scale, rtol=1e-5, atol=0)


@pytest.mark.parametrize("compiled", [False, True])
def test_together_is_each_by_itself(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fisher, "HAS_EIGH", compiled and fisher.HAS_EIGH)
    sizes = [(12, 4), (9, 4), (1, 3), (30, 6), (4, 9)]
    first = [OnlineNaturalGradient(2, dim, rank) for dim, rank in sizes]
    second = [OnlineNaturalGradient(2, dim, rank) for dim, rank in sizes]
    batches = []
    eigh = torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda Z: batches.append(tuple(Z.shape)) or eigh(Z))
    for call in range(3):
        xs = [batch(stream(1, 10, dim, call)[0], 2) for dim, _ in sizes]
        batches.clear()
        results = precondition_together(first, [[x.clone()] for x in xs])
        if call and not fisher.HAS_EIGH:
            assert sorted(batches) == [(2, 3, 3), (2, 6, 6), (4, 4, 4)]
        for one, x, (of_x,) in zip(second, xs, results, strict=True):
            own_y, own_scale = one.precondition(x)
            assert torch.equal(of_x.y, own_y) and torch.equal(of_x.scale, own_scale)


def test_an_appended_one_is_a_column_of_ones() -> None:
    implied = OnlineNaturalGradient(2, 13, 5, update_period=4, with_one=True)
    written = OnlineNaturalGradient(2, 13, 5, update_period=4)
    for x in stream(25, 30, 12, seed=9):
        both = torch.stack([batch(x)[0], 0.1 * batch(x)[0].flip(0)])
        y, scale = implied.precondition(both)
        other_y, other_scale = written.precondition(torch.cat([both, torch.ones(2, 30, 1)], dim=2))
        torch.testing.assert_close(y, other_y, rtol=1e-4, atol=2e-5)
        torch.testing.assert_close(scale, other_scale, rtol=1e-5, atol=0)


def test_estimates_in_one_object_are_those_of_several() -> None:
    """Of two tensors, of two replicas and of one."""
    shared = OnlineNaturalGradient(3, 13, 5, update_period=4, with_one=True)
    first, second = (OnlineNaturalGradient(r, 13, 5, update_period=4, with_one=True) for r in (2, 1))
    for a, b in zip(stream(20, 30, 12, seed=10), stream(20, 30, 12, seed=11), strict=True):
        xs = [batch(a, 2), batch(b)]
        (done,) = precondition_together([shared], [[x.clone() for x in xs]])
        for own, x, of_x in zip((first, second), xs, done, strict=True):
            y, scale = own.precondition(x)
            assert of_x.one is not None
            torch.testing.assert_close(torch.cat([of_x.y, of_x.one], dim=2), y, rtol=1e-4, atol=2e-5)
            torch.testing.assert_close(of_x.scale, scale, rtol=1e-5, atol=0)


def test_inputs_are_left_alone_and_one_dimension_is_the_identity() -> None:
    x = torch.randn(2, 6, 1, generator=torch.Generator().manual_seed(0))
    y, scale = OnlineNaturalGradient(2, 1).precondition(x)
    assert torch.equal(y, x) and torch.equal(scale, torch.ones(2))
    x = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    OnlineNaturalGradient(1, 4, 2).precondition(x)
    assert torch.equal(x, before)


def test_constants_are_kaldis() -> None:
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(OnlineNaturalGradient).parameters.items()
        if parameter.default is not inspect.Parameter.empty and name != "device"
    }
    assert defaults == {
        "rank": 40,
        "update_period": 1,
        "num_samples_history": 2000.0,
        "alpha": 4.0,
        "epsilon": 1e-10,
        "delta": 5e-4,
        "with_one": False,
    }
    assert natural_gradient.NUM_INITIAL_UPDATES == 10
    assert natural_gradient.INITIAL_PASSES == 3
    assert fisher.ETA_LIMIT == 0.9
    assert fisher.FIRST_ELEMENT == 1.1
