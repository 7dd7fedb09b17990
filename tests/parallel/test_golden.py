"""Twelve rounds of three workers on a quadratic: every algorithm and option against plain formulas."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference_algorithms as reference
import torch
from stand_ins import Models, scheduler, together
from torch import Tensor

from asr_parallel.parallel.transport import Transport
from asr_parallel.parallel.worker_group import WorkerGroup

K, P, ROUNDS, PERIOD = 3, 7, 12, 4
RANDOM = np.random.default_rng(3)
START = RANDOM.standard_normal(P)
CURVES, OPTIMA = RANDOM.uniform(0.2, 1.5, (K, P)), RANDOM.standard_normal((K, P)) * 2
RATES = 0.2 * 0.93 ** np.arange(ROUNDS)
FRAMES = PERIOD * RANDOM.integers(1, 9, (ROUNDS, K))  # of a round
FRAMES[5, 1] = FRAMES[9, 2] = 0  # out of data


def step(w: Any, curves: Any, optima: Any, trains: Any, rate: float) -> Any:
    """A minibatch of the workers that have one."""
    return w - rate * trains * curves * (w - optima)


def block(w: np.ndarray, t: int) -> np.ndarray:
    for _ in range(PERIOD):
        w = step(w, CURVES, OPTIMA, FRAMES[t, :, None] > 0, RATES[t])
    return w


def in_one_process(transport: Transport, options: dict[str, Any]) -> list[tuple[Tensor, Tensor]]:
    group = WorkerGroup(K, transport)
    own = list(group.local_workers)
    models = Models(torch.from_numpy(START).float().repeat(len(own), 1))
    rounds, seen = scheduler(models, transport, **options), []
    curves, optima = torch.from_numpy(CURVES[own]).float(), torch.from_numpy(OPTIMA[own]).float()
    for t in range(ROUNDS):
        trains = torch.from_numpy(FRAMES[t, own, None] > 0)
        for minibatch in range(PERIOD):
            models.parameters.copy_(step(models.parameters, curves, optima, trains, RATES[t]))
            met = rounds.after_batch(models, FRAMES[t] // PERIOD, None, RATES[t])
            assert met == (minibatch == PERIOD - 1)
        seen.append((models.parameters.clone(), rounds.model(models).clone()))
    return seen


Make = Callable[[], reference.Rule]
INT8, FLOAT16 = 127, 2048  # greatest sums that are exact
CASES: dict[str, tuple[dict[str, Any], Make]] = {
    "average": ({}, lambda: reference.Averaging(START)),
    "average-equal": ({"weights": "equal"}, lambda: reference.Averaging(START, equal=True)),
    "average-float16": (
        {"comm_dtype": "float16"}, lambda: reference.Averaging(START, mean=reference.Quantised(FLOAT16, K)),
    ),
    "average-int8": ({"comm_dtype": "int8"}, lambda: reference.Averaging(START, mean=reference.Quantised(INT8, K))),
    "bmuf-nesterov": (
        {"algorithm": "block-momentum"}, lambda: reference.Bmuf(START, 1 - 1 / K, 1.0, True),
    ),
    "bmuf": ({"algorithm": "block-momentum", "outer": "bmuf"}, lambda: reference.Bmuf(START, 1 - 1 / K, 1.0, False)),
    "bmuf-other-constants": (
        {"algorithm": "block-momentum", "outer_rate": 0.8, "outer_momentum": 0.3},
        lambda: reference.Bmuf(START, 0.3, 0.8, True),
    ),
    "bmuf-int8": (
        {"algorithm": "block-momentum", "comm_dtype": "int8"},
        lambda: reference.Bmuf(START, 1 - 1 / K, 1.0, True, reference.Quantised(INT8, K)),
    ),
    "slowmo": ({"algorithm": "block-momentum", "outer": "slowmo"}, lambda: reference.SlowMo(START, 1.0, 0.5)),
    "diloco": ({"algorithm": "block-momentum", "outer": "diloco"}, lambda: reference.DiLoCo(START, 0.7, 0.9)),
    "elastic": ({"algorithm": "elastic"}, lambda: reference.Easgd(START, 0.9)),
    "elastic-int8": (
        {"algorithm": "elastic", "comm_dtype": "int8"},
        lambda: reference.Easgd(START, 0.9, reference.Quantised(INT8, K)),
    ),
}  # fmt: skip
OVERLAPPED = (
    "average",
    "average-equal",
    "bmuf-nesterov",
    "bmuf",
    "bmuf-other-constants",
    "slowmo",
    "diloco",
    "elastic",
)


def compare(options: dict[str, Any], wanted: list[tuple[np.ndarray, np.ndarray]], processes: int) -> None:
    seats = together(processes, lambda transport: in_one_process(transport, options))
    for t, (workers, delivered) in enumerate(wanted):
        found = torch.cat([seat[t][0] for seat in seats])
        np.testing.assert_allclose(found.numpy(), workers, rtol=1e-5, atol=3e-6, err_msg=f"round {t}")
        for seat in seats:
            assert torch.equal(seat[t][1], seats[0][t][1])
        np.testing.assert_allclose(seats[0][t][1].numpy(), delivered, rtol=1e-5, atol=3e-6, err_msg=f"round {t}")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("case", CASES)
def test_trajectories(case: str, processes: int) -> None:
    given, make = CASES[case]
    options = {"workers": K, "period": PERIOD, **given}
    wanted = list(reference.run(make(), START, block, FRAMES, RATES))
    compare(options, wanted, processes)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("case", OVERLAPPED)
def test_overlapped_trajectories(case: str, processes: int) -> None:
    given, make = CASES[case]
    options = {"workers": K, "period": PERIOD, "overlap": True, **given}
    wanted = list(reference.run_overlapped(make(), START, block, FRAMES, RATES))
    if case.startswith("average"):  # until the mean is in, the workers stand for it
        weights = FRAMES if "weights" not in given else FRAMES > 0
        wanted = [(w, n @ w / n.sum()) for (w, _), n in zip(wanted, weights.astype(float), strict=True)]
    compare(options, wanted, processes)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("processes", [1, 2])
def test_colearning(processes: int) -> None:
    epochs, per_epoch, rate, eps = 18, 3, 0.05, 0.12
    shares = per_epoch * np.array([5, 5, 9])

    def epoch(w: np.ndarray, number: int) -> np.ndarray:
        for _ in range(per_epoch):
            w = step(w, CURVES, OPTIMA, True, rate)
        return w

    wanted = list(reference.colearning(START, epoch, shares, epochs, 1, eps))
    lengths = [length for _, length in wanted]
    assert len(set(lengths)) == 4 and lengths[-1] < 2 * lengths[-2]  # it doubles, and is cut short at the end

    def train(transport: Transport) -> list[tuple[Tensor, int]]:
        group = WorkerGroup(K, transport)
        own = list(group.local_workers)
        models = Models(torch.from_numpy(START).float().repeat(len(own), 1))
        rounds = scheduler(
            models, transport, workers=K, algorithm="colearn", colearn_threshold=eps, epochs=epochs,
            minibatches=per_epoch,
        )  # fmt: skip
        seen, last = [], 0
        curves, optima = torch.from_numpy(CURVES[own]).float(), torch.from_numpy(OPTIMA[own]).float()
        for minibatch in range(epochs * per_epoch):
            models.parameters.copy_(step(models.parameters, curves, optima, True, rate))
            if rounds.after_batch(models, shares // per_epoch, None, rate):
                seen.append((rounds.model(models).clone(), (minibatch + 1) // per_epoch - last))
                last = (minibatch + 1) // per_epoch
        return seen

    for found in together(processes, train):
        assert [length for _, length in found] == lengths
        for (model, _), (average, _) in zip(found, wanted, strict=True):
            np.testing.assert_allclose(model.numpy(), average, rtol=1e-5, atol=3e-6)
