"""Three workers on a quadratic, in a scripted order: every rule against plain formulas."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from quadratic import PlainReplica, Workers, rule
from torch import Tensor

K, P, STEPS, RATE = 3, 5, 40, 0.15
RANDOM = np.random.default_rng(5)
START = RANDOM.standard_normal(P)
CURVES, OPTIMA = RANDOM.uniform(0.2, 1.5, (K, P)), 2 * RANDOM.standard_normal((K, P))
NOISE = RANDOM.standard_normal((K, 2 * STEPS, P))
SCRIPT = RANDOM.choice(K, 240, p=[0.5, 0.3, 0.2])  # who acts: unequal speeds, any order


def gradient(worker: int, x: np.ndarray, step: int) -> np.ndarray:
    return CURVES[worker] * (x - OPTIMA[worker]) + NOISE[worker, step]


@dataclass
class Reference:
    """The center of the formulas, with what some of them need beside x."""

    x: np.ndarray = field(default_factory=START.copy)
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(P))
    average: np.ndarray = field(default_factory=START.copy)
    pushes: int = 0


Lives = Callable[[int, Reference], Iterator[np.ndarray]]  # of a worker: its x after each of its actions


def elastic(alpha: float, tau: int, delta: float) -> Lives:
    """Algorithms 1 and 2 of the paper, for a worker; the first exchange, of equal models, is left out."""

    def life(i: int, center: Reference) -> Iterator[np.ndarray]:
        x, v, t = center.x.copy(), np.zeros(P), 0
        yield x
        while True:
            e = np.zeros(P)
            if t > 0 and t % tau == 0:
                e = alpha * (x - center.x)
                yield x
                center.x = center.x + e
                yield x
            v = delta * v - RATE * gradient(i, x + delta * v, t)
            x = x + v - e
            yield x
            t += 1

    return life


def downpour(tau: int, take: Callable[[Reference, np.ndarray], None], sent: Callable[[Reference], np.ndarray]) -> Lives:
    """DOWNPOUR's worker: v gathers the updates. take: the center's update; sent: what it sends."""

    def life(i: int, center: Reference) -> Iterator[np.ndarray]:
        x, v, t = sent(center).copy(), np.zeros(P), 0
        yield x
        while True:
            if t > 0 and t % tau == 0:
                take(center, v)
                yield x
                x, v = sent(center).copy(), np.zeros(P)
                yield x
            update = -RATE * gradient(i, x, t)
            x, v = x + update, v + update
            yield x
            t += 1

    return life


def plain(center: Reference, v: np.ndarray) -> None:
    center.x = center.x + v


def averaged(rate: Callable[[int], float]) -> Callable[[Reference, np.ndarray], None]:
    def take(center: Reference, v: np.ndarray) -> None:
        a = rate(center.pushes)
        center.average = (1 - a) * center.average + a * center.x
        center.x, center.pushes = center.x + v, center.pushes + 1

    return take


def nesterov(delta: float) -> Callable[[Reference, np.ndarray], None]:
    def take(center: Reference, v: np.ndarray) -> None:
        center.velocity = delta * center.velocity + v
        center.x = center.x + center.velocity

    return take


def x_of(center: Reference) -> np.ndarray:
    return center.x


CASES: list[tuple[str, dict[str, float], float, Lives, Callable[[Reference], np.ndarray]]] = [
    ("async-elastic", {"period": 1}, 0.0, elastic(0.3, 1, 0.0), x_of),
    ("async-elastic", {"period": 4}, 0.0, elastic(0.3, 4, 0.0), x_of),
    ("async-elastic", {"period": 3, "elastic_beta": 1.5}, 0.8, elastic(0.5, 3, 0.8), x_of),
    ("downpour", {"period": 1}, 0.0, downpour(1, plain, x_of), x_of),
    ("downpour", {"period": 4}, 0.0, downpour(4, plain, x_of), x_of),
    ("adownpour", {"period": 2}, 0.0, downpour(2, averaged(lambda t: 1 / (t + 1)), x_of), lambda c: c.average),
    (
        "mvadownpour", {"period": 2, "average_rate": 0.1}, 0.0, downpour(2, averaged(lambda t: 0.1), x_of),
        lambda c: c.average,
    ),
    (
        "mdownpour", {"center_momentum": 0.6}, 0.0,
        downpour(1, nesterov(0.6), lambda c: c.x + 0.6 * c.velocity), x_of,
    ),
]  # fmt: skip


def replica(worker: int, momentum: float) -> PlainReplica:
    def of_torch(x: Tensor, step: int) -> Tensor:
        return torch.from_numpy(gradient(worker, x.numpy(), step))

    return PlainReplica(torch.from_numpy(START), of_torch, RATE, momentum)


@pytest.mark.parametrize(("name", "given", "momentum", "lives", "model"), CASES)
def test_a_scripted_training_follows_the_formulas(
    name: str, given: dict[str, float], momentum: float, lives: Lives, model: Callable[[Reference], np.ndarray]
) -> None:
    replicas = [replica(worker, momentum) for worker in range(K)]
    workers = Workers(rule(name, K, **given), torch.from_numpy(START), replicas, steps=2 * STEPS)
    center = Reference()
    of_formulas = [lives(worker, center) for worker in range(K)]
    for worker in SCRIPT:
        acted = workers.act(worker)
        x = next(of_formulas[worker])
        replicas[worker].leave_lookahead()
        if acted != "PUSH":
            np.testing.assert_allclose(replicas[worker].params.numpy(), x, rtol=1e-12, atol=1e-12)
        replicas[worker].enter_lookahead()
        np.testing.assert_allclose(workers.center.params.numpy(), center.x, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(workers.center.model().numpy(), model(center), rtol=1e-12, atol=1e-12)
    assert workers.center.version > 15 and len(workers.center.staleness) > 2


@pytest.mark.parametrize("name", ["mdownpour", "adownpour", "mvadownpour"])
def test_alone_they_are_the_papers_sequential_methods(name: str) -> None:
    """MSGD with Nesterov's momentum, ASGD and MVASGD: what a single process computes without any center."""
    delta, rate = 0.7, 0.05
    given = {"mdownpour": {"center_momentum": delta}, "adownpour": {"period": 1}}
    of = rule(name, 1, **given.get(name, {"period": 1, "average_rate": rate}))
    workers = Workers(of, torch.from_numpy(START), [replica(0, 0.0)], steps=STEPS)
    workers.act(0)
    x, v, visited = START.copy(), np.zeros(P), []
    z = START.copy()
    for t in range(STEPS):
        visited.append(x)
        if name == "mdownpour":
            v = delta * v - RATE * gradient(0, x + delta * v, t)
            x = x + v
        else:
            a = 1 / (t + 1) if name == "adownpour" else rate
            z = (1 - a) * z + a * x
            x = x - RATE * gradient(0, x, t)
        for _ in range(3):
            workers.act(0)
        expected = x if name == "mdownpour" else z
        np.testing.assert_allclose(workers.center.model().numpy(), expected, rtol=1e-11, atol=1e-12)
    if name == "adownpour":
        np.testing.assert_allclose(workers.center.model().numpy(), np.mean(visited, axis=0), rtol=1e-11)
