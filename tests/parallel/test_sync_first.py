"""Post-local SGD: models are averaged after every minibatch at first, then as the algorithm says."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from stand_ins import Models, random_models, scheduler, together
from torch import Tensor

from asr_parallel.clock.interconnect import PRESETS
from asr_parallel.clock.modelled_clock import ModelledClock
from asr_parallel.parallel.cost import StepCost
from asr_parallel.parallel.state import State
from asr_parallel.parallel.sync_scheduler import SyncScheduler
from asr_parallel.parallel.worker_options import WorkerOptions, split

WORKERS, SIZE, MINIBATCHES, FIRST = 4, 6, 24, 8
FRAMES = np.array([8, 16, 8, 24])
CASES: list[dict[str, Any]] = [
    {"algorithm": "average", "period": 4},
    {"algorithm": "average", "period": 4, "weights": "equal", "comm_dtype": "int8"},
    {"algorithm": "average", "period": 4, "overlap": True},
    {"algorithm": "average", "period": 4, "ema": 0.5},
    {"algorithm": "elastic", "period": 4},
]


def steps(minibatch: int) -> Tensor:
    """(K, P) what workers learn from a minibatch."""
    return random_models(WORKERS, SIZE, 100 + minibatch)


def begin(models: Models, first: int = FIRST, **options: Any) -> SyncScheduler:
    return scheduler(models, minibatches=MINIBATCHES // 2, epochs=2, sync_first=first / MINIBATCHES, **options)


def train(rounds: SyncScheduler, models: Models, minibatches: range) -> list[bool]:
    synced = []
    for minibatch in minibatches:
        models.parameters += steps(minibatch)
        due = rounds.sync_due
        synced.append(rounds.after_batch(models, FRAMES))
        assert synced[-1] == due
    return synced


def same(models: int = WORKERS) -> Models:
    return Models(random_models(1, SIZE, 1).expand(models, -1).clone())


def test_means_after_every_minibatch_and_then_every_period() -> None:
    models = same()
    rounds = begin(models, algorithm="average", period=4)
    expected = models.parameters.double().numpy()
    synced = train(rounds, models, range(MINIBATCHES))
    assert synced == [True] * FIRST + 4 * [False, False, False, True]
    for minibatch, due in enumerate(synced):
        expected = expected + steps(minibatch).double().numpy()
        if due:
            expected[:] = np.average(expected, axis=0, weights=FRAMES)
    torch.testing.assert_close(models.parameters.double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-6)


def test_all_of_it_is_averaging_with_period_1_and_none_of_it_changes_nothing() -> None:
    pairs = [((MINIBATCHES, {"period": 4}), (0, {"period": 1})), ((0, {"period": 4}), (None, {"period": 4}))]
    for runs in pairs:
        ends = []
        for first, options in runs:
            models = same()
            rounds = scheduler(models, **options) if first is None else begin(models, first, **options)
            train(rounds, models, range(MINIBATCHES))
            ends.append(rounds.finish(models).clone())
        assert torch.equal(*ends)


def test_an_algorithm_starts_from_the_model_of_the_first_part() -> None:
    models, later = same(), same()
    rounds = begin(models, algorithm="elastic", period=4)
    train(rounds, models, range(FIRST))
    assert (models.parameters == models.parameters[0]).all()
    assert torch.equal(rounds.model(models), models.parameters[0])  # not a center that is still where it began
    later.parameters.copy_(models.parameters)
    alone = scheduler(later, algorithm="elastic", period=4)
    for one, of in ((rounds, models), (alone, later)):
        train(one, of, range(FIRST, MINIBATCHES))
    assert torch.equal(models.parameters, later.parameters)
    assert torch.equal(rounds.finish(models), alone.finish(later))


def test_the_model_between_two_means_is_that_of_the_next() -> None:
    """This holds for elastic averaging too, whose own means count workers alike."""
    models = same()
    rounds = begin(models, algorithm="elastic", period=4)
    rounds._frames += FRAMES
    models.parameters += steps(0)
    expected = np.average(models.parameters.double().numpy(), axis=0, weights=FRAMES)
    torch.testing.assert_close(rounds.model(models).double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", CASES, ids=str)
@pytest.mark.parametrize("stop", [3, FIRST, 13])
def test_it_goes_on_in_either_part_as_if_it_had_not_stopped(options: dict[str, Any], stop: int) -> None:
    models, other = same(), same()
    whole, half = begin(models, **options), begin(other, **options)
    train(whole, models, range(MINIBATCHES))
    train(half, other, range(stop))
    state = half.state_dict().clone()
    again = begin(copied := Models(other.parameters.clone()), **options)
    again.load_state_dict(State(state.shared, state.per_worker, json.loads(json.dumps(state.values))))
    train(again, copied, range(stop, MINIBATCHES))
    assert torch.equal(models.parameters, copied.parameters)
    assert torch.equal(whole.finish(models), again.finish(copied))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("options", CASES, ids=str)
def test_processes_do_not_matter(options: dict[str, Any]) -> None:
    models = same()
    rounds = begin(models, **options)
    train(rounds, models, range(MINIBATCHES))
    alone = rounds.finish(models).clone()

    def half(transport: Any) -> Tensor:
        own = same(WORKERS // 2)
        here = scheduler(
            own, transport, workers=WORKERS, minibatches=MINIBATCHES // 2, epochs=2, sync_first=FIRST / MINIBATCHES,
            **options,
        )  # fmt: skip
        for minibatch in range(MINIBATCHES):
            own.parameters += steps(minibatch)[list(here.group.local_workers)]
            here.after_batch(own, FRAMES)
        return here.finish(own).clone()

    for model in together(2, half):
        torch.testing.assert_close(model, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("algorithm", ["gradient", "block-momentum", "ensemble", "none", "async-elastic"])
def test_of_no_use_elsewhere(algorithm: str) -> None:
    with pytest.raises(ValueError, match=r"sync_first 0\.1 is of no use to algorithm .*, only to average, elastic"):
        split(workers=2, algorithm=algorithm, sync_first=0.1)


def test_the_clock_counts_both_parts() -> None:
    work = StepCost(0.01, 128, 1_000_000)

    def clock(**options: Any) -> ModelledClock:
        constants = {"period": options.pop("period", 16)}
        workers, own = split(workers=8, algorithm="average", **options, **constants)
        return ModelledClock(workers, work, PRESETS["1gbe"], 1e6, constants=own)

    first, later, both = clock(period=1).epoch(), clock().epoch(), clock(sync_first=0.25).epoch()
    assert both.total == pytest.approx(0.25 * first.total + 0.75 * later.total)
    assert both.compute == pytest.approx(later.compute) and first.exchange > both.exchange > later.exchange
    hidden = clock(sync_first=1.0, overlap=True).epoch()  # nothing is hidden in that part
    assert hidden.total == pytest.approx(first.total)
    assert clock(sync_first=0.25).peak() == pytest.approx(clock().peak())
    one = ModelledClock(WorkerOptions(workers=1, sync_first=0.25), work, PRESETS["1gbe"], 1e6)
    assert one.speedup() == pytest.approx(1)
