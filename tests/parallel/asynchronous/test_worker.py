import pytest
import torch
from quadratic import PlainReplica, Workers, rule

from asr_parallel.parallel.asynchronous.life import Phase
from asr_parallel.parallel.worker_options import split

START = torch.tensor([1.0, -2.0, 0.5])
ALGORITHMS = ("async-elastic", "downpour", "adownpour", "mvadownpour", "mdownpour")


def workers_of(name: str, count: int, steps: int, momentum: float = 0.0, **given: float) -> Workers:
    if name == "mdownpour":
        assert given.pop("period", 1) == 1
    replicas = [PlainReplica(START, lambda x, n: x, 0.1, momentum) for _ in range(count)]
    return Workers(rule(name, count, **given), START, replicas, steps)


@pytest.mark.parametrize(("name", "exchange"), [("async-elastic", "FETCH PUSH"), ("downpour", "PUSH FETCH")])
def test_a_worker_joins_trains_exchanges_every_period_and_at_the_end(name: str, exchange: str) -> None:
    workers = workers_of(name, 1, steps=5, period=2)
    life = []
    while workers.lives[0].phase != Phase.DONE:
        life.append(workers.act(0))
    assert " ".join(life) == f"FETCH STEP STEP {exchange} STEP STEP {exchange} STEP {exchange}"
    assert workers.center.frames == 5 and workers.center.version == 3


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_late_worker_starts_from_the_center(name: str) -> None:
    workers = workers_of(name, 2, steps=4, period=1)
    for _ in range(4):
        workers.act(0)
    assert not torch.equal(workers.center.fetch().params, START)
    workers.act(1)
    assert torch.equal(workers.replicas[1].params, workers.center.fetch().params)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_model_that_is_not_finite_never_reaches_the_center(name: str) -> None:
    workers = workers_of(name, 2, steps=6, period=1)
    workers.act(0)
    workers.act(0)
    workers.replicas[0].params[1] = torch.nan
    workers.act(0)
    workers.act(0)
    assert workers.center.params.isfinite().all() and workers.replicas[0].params.isfinite().all()
    assert workers.workers[0].restarts == 1 and workers.center.frames == 1
    with pytest.raises(ValueError, match="not finite"):
        workers.center.push(torch.tensor([0.0, torch.inf, 0.0]), 0, 1)


def test_a_center_refuses_what_no_worker_of_it_can_send() -> None:
    center = workers_of("downpour", 1, steps=1).center
    with pytest.raises(ValueError, match=r"shape \(2,\): expected \(3,\)"):
        center.push(torch.zeros(2), 0, 1)
    with pytest.raises(ValueError, match="version 1 with 1 frames: expected a version of at most 0"):
        center.push(torch.zeros(3), 1, 1)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_an_elastic_exchange_leaves_the_sum_of_center_and_workers_as_it_is(momentum: float) -> None:
    """Gradients alone move the sum: here there are none after the first steps."""
    random = torch.Generator().manual_seed(0)
    starts = torch.randn(3, 3, generator=random, dtype=torch.float64)
    replicas = [PlainReplica(start, lambda x, n: torch.zeros_like(x), 0.1, momentum) for start in starts]
    workers = Workers(rule("async-elastic", 3, period=1), starts[0], replicas, steps=5)
    for worker in range(3):
        workers.act(worker)
        replicas[worker].params += starts[worker]
    before = workers.center.params + sum(replica.params for replica in replicas)
    for worker in (0, 1, 0, 2, 1, 2, 0, 1, 2, 0, 1, 2) * 2:
        workers.act(worker)
    for worker in range(3):  # until nobody is between a push and the step that completes the exchange
        while workers.lives[worker].phase != Phase.FETCH:
            workers.act(worker)
    after = workers.center.params + sum(replica.params for replica in replicas)
    assert workers.center.version > 3
    torch.testing.assert_close(after, before, rtol=1e-14, atol=1e-14)


def test_staleness_is_the_pushes_of_others_since_the_fetch() -> None:
    workers = workers_of("downpour", 3, steps=2, period=1)
    for _ in range(2):
        for worker in range(3):
            workers.act(worker)  # all fetch; all step
    for worker in range(3):
        workers.act(worker)
    assert dict(workers.center.staleness) == {0: 1, 1: 1, 2: 1}


def test_bad_constants_are_refused_with_both_values() -> None:
    with pytest.raises(ValueError, match="elastic_beta 3 with 2 workers: expected at most 2"):
        rule("async-elastic", 2, elastic_beta=3)
    with pytest.raises(ValueError, match=r"period 4 is of no use to algorithm mdownpour, only to .*downpour"):
        split(algorithm="mdownpour", workers=2, period=4)
    with pytest.raises(ValueError, match="period 0: expected a whole number of at least 1"):
        rule("downpour", 2, period=0)
