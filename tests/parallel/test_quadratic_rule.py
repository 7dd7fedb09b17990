"""The quadratic synchronization rule: periods grow as the learning rate falls."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stand_ins import Models, random_models, scheduler, together
from torch import Tensor

from asr_parallel.clock.interconnect import PRESETS
from asr_parallel.clock.modelled_clock import ModelledClock
from asr_parallel.features.frames import FrameStore
from asr_parallel.parallel.cost import StepCost
from asr_parallel.parallel.quadratic_rule import QuadraticRule
from asr_parallel.parallel.state import State
from asr_parallel.parallel.sync_scheduler import SyncScheduler
from asr_parallel.parallel.worker_options import split
from asr_parallel.training.hooks import Hook, TrainingStep
from asr_parallel.training.train_options import training_options
from asr_parallel.training.trainer import Trainer

WORKERS, SIZE, MINIBATCHES, ALPHA = 4, 6, 60, 0.2
FRAMES = np.array([8, 16, 8, 24])
CASES: list[dict[str, Any]] = [
    {"algorithm": "average", "period": 2},
    {"algorithm": "average", "period": 1, "overlap": True},
    {"algorithm": "average", "period": 2, "comm_dtype": "int8", "ema": 0.5},
    {"algorithm": "average", "period": 2, "sync_first": 0.25},
    {"algorithm": "block-momentum", "period": 2, "outer": "diloco"},
    {"algorithm": "block-momentum", "period": 2, "outer": "slowmo"},
    {"algorithm": "elastic", "period": 2},
]


def rate(minibatch: int) -> float:
    """The rate of a minibatch: a tenth of the first at the end."""
    return float(0.2 * 0.1 ** (minibatch / MINIBATCHES))


def steps(minibatch: int) -> Tensor:
    """(K, P) what workers learn from a minibatch."""
    return random_models(WORKERS, SIZE, 100 + minibatch)


def same(models: int = WORKERS) -> Models:
    return Models(random_models(1, SIZE, 1).expand(models, -1).clone())


def begin(models: Models, transport: Any = None, **options: Any) -> SyncScheduler:
    given = {"workers": WORKERS, "qsr_alpha": ALPHA, **options}
    return scheduler(models, transport, minibatches=MINIBATCHES // 2, epochs=2, **given)


def train(rounds: SyncScheduler, models: Models, minibatches: range) -> list[bool]:
    own, synced = list(rounds.group.local_workers), []
    for minibatch in minibatches:
        models.parameters += steps(minibatch)[own]
        synced.append(rounds.after_batch(models, FRAMES, lr=rate(minibatch)))
    return synced


def by_hand(period: int, first: int = 0) -> list[bool]:
    """Return for each minibatch whether workers synchronize after it, by the paper's Algorithm 2."""
    synced, since, length = [], 0, 0
    for minibatch in range(MINIBATCHES):
        if minibatch < first:
            synced.append(True)
            continue
        if since == 0:
            length = max(period, math.floor((ALPHA / rate(minibatch)) ** 2))
        since += 1
        synced.append(since == length)
        since %= length
    return synced


@pytest.mark.parametrize("period", [1, 2, 7])
def test_models_are_averaged_when_the_formula_says(period: int) -> None:
    models = same()
    rounds = begin(models, algorithm="average", period=period)
    expected = models.parameters.double().numpy()
    synced = train(rounds, models, range(MINIBATCHES))
    assert synced == by_hand(period)
    lengths = np.diff(np.flatnonzero([True, *synced]))
    assert lengths[0] == period and lengths[-1] > 2 * period and (np.diff(lengths) >= 0).all()
    for minibatch, due in enumerate(synced):
        expected = expected + steps(minibatch).double().numpy()
        if due:
            expected[:] = np.average(expected, axis=0, weights=FRAMES)
    torch.testing.assert_close(models.parameters.double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-6)


def test_a_rate_is_per_frame_and_the_papers_of_a_minibatchs_mean() -> None:
    assert QuadraticRule(0.2, 1).round(4, 0.02) == 100 == QuadraticRule(0.2, 512).round(4, 0.02 / 512)
    assert QuadraticRule(0.2, 1).round(4, 0.2) == 4
    assert QuadraticRule(0.2).rounds(4, lambda done: 0.02 if done else 1.0, 0, 250) == [4, 100, 100, 46]


@pytest.mark.parametrize("options", CASES, ids=str)
def test_every_algorithm_and_the_synchronous_part(options: dict[str, Any]) -> None:
    first = round(options.get("sync_first", 0) * MINIBATCHES)
    models = same()
    assert train(begin(models, **options), models, range(MINIBATCHES)) == by_hand(options["period"], first)


@pytest.mark.parametrize("options", CASES, ids=str)
def test_it_goes_on_at_any_minibatch_as_if_it_had_not_stopped(options: dict[str, Any]) -> None:
    models = same()
    whole = begin(models, **options)
    train(whole, models, range(MINIBATCHES))
    last = whole.finish(models).clone()
    for stop in (1, 2, 14, 15, 16, 31, 47, MINIBATCHES - 1):
        half = begin(other := same(), **options)
        train(half, other, range(stop))
        state = half.state_dict().clone()
        again = begin(copied := Models(other.parameters.clone()), **options)
        again.load_state_dict(State(state.shared, state.per_worker, json.loads(json.dumps(state.values))))
        train(again, copied, range(stop, MINIBATCHES))
        assert again.num_syncs < MINIBATCHES
        assert torch.equal(last, again.finish(copied)) and torch.equal(models.parameters, copied.parameters)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("options", CASES, ids=str)
def test_processes_do_not_matter(options: dict[str, Any]) -> None:
    models = same()
    rounds = begin(models, **options)
    synced = train(rounds, models, range(MINIBATCHES))
    alone = rounds.finish(models).clone()

    def half(transport: Any) -> tuple[list[bool], Tensor]:
        here = begin(own := same(WORKERS // 2), transport, **options)
        return train(here, own, range(MINIBATCHES)), here.finish(own).clone()

    for when, model in together(2, half):
        assert when == synced
        torch.testing.assert_close(model, alone, rtol=1e-5, atol=2e-5)


class Synced(Hook):
    """Rates of all minibatches and those after which workers synchronized."""

    def __init__(self) -> None:
        self.rates, self.synced = list[float](), list[int]()

    def on_batch(self, step: TrainingStep) -> None:
        self.rates.append(step.learning_rate)

    def on_sync(self, step: TrainingStep) -> None:
        self.synced.append(step.number)


ADAM = {"optimizer": "adam", "learning_rate": 0.016}  # per minibatch


@pytest.mark.parametrize("more", [{}, {"schedule": "cyclical"}, {"algorithm": "block-momentum"}, ADAM], ids=str)
def test_a_training_synchronizes_as_often_as_the_clock_says(
    frames_folder: Path, tmp_path: Path, more: dict[str, Any]
) -> None:
    options = training_options(**{
        "workers": 4, "hidden_layers": 1, "hidden_dim": 8, "minibatch": 8, "epochs": 3, "combine": 0, "period": 2,
        "precision": "float32", "learning_rate": 0.002, "qsr_alpha": 0.02, **more,
    })  # fmt: skip
    trainer = Trainer(FrameStore.open(frames_folder), options, tmp_path)
    trainer.add_hook(hook := Synced())
    trainer.run()
    expected, done = [], 0
    while done < len(hook.rates):
        eta = hook.rates[done] * (1 if "optimizer" in more else 8)
        done += max(2, math.floor((0.02 / eta) ** 2))
        expected.append(done)
    assert hook.synced == [number for number in expected if number <= len(hook.rates)]
    scale = 4 if options.workers.algorithm == "average" else 1
    assert hook.rates[0] == pytest.approx(scale * options.resolved_learning_rate)

    clock = ModelledClock(
        options.workers, StepCost(0.01, 8, 1000), PRESETS["1gbe"], trainer.batches.frames_per_epoch,
        constants=options.algorithm, epochs=3, rates=options.rates,
    )  # fmt: skip
    rounds = clock.rounds()
    assert len(rounds) == pytest.approx(trainer.scheduler.num_syncs, rel=0.06, abs=1)
    assert sum(rounds) == round(3 * clock.minibatches)
    assert 2 in rounds or (scale == 1 and max(rounds) > 2)


def test_the_clock_counts_every_round() -> None:
    """Half of the training at a rate of 0.1 a minibatch, which gives rounds of 4; half at 0.02, of 100."""
    work = StepCost(0.01, 128, 1_000_000)

    def clock(**options: Any) -> ModelledClock:
        workers, own = split(workers=8, algorithm="average", **{"period": 4, **options})
        changed = 4 * 800 * 8 * 128 // 2  # frames
        return ModelledClock(
            workers, work, PRESETS["1gbe"], 800 * 8 * 128, constants=own, epochs=4,
            rates=lambda workers, frames: lambda done: 0.1 if done < changed else 0.02,
        )  # fmt: skip

    rule = clock(qsr_alpha=0.2)
    assert Counter(rule.rounds()) == {4: 400, 100: 16}
    short, long = clock().epoch(), clock(period=100).epoch()
    assert rule.epoch().total == pytest.approx((short.total + long.total) / 2)
    assert rule.epoch().compute == pytest.approx(short.compute)
    assert rule.peak() == pytest.approx(clock(period=100).peak())
    assert short.total > rule.epoch().total > long.total
    first = clock(qsr_alpha=0.2, sync_first=0.5)
    assert first.rounds() == [100] * 16
    assert first.epoch().total == pytest.approx((clock(period=1).epoch().total + long.total) / 2)
    one = clock(qsr_alpha=0.2).with_(workers=1)
    assert one.rounds() == [] and one.speedup() == pytest.approx(1)


@pytest.mark.parametrize("algorithm", ["gradient", "ensemble", "colearn", "none", "downpour"])
def test_of_no_use_elsewhere(algorithm: str) -> None:
    with pytest.raises(ValueError, match=r"qsr_alpha 0\.1 .* only to average, block-momentum, elastic"):
        split(workers=2, algorithm=algorithm, qsr_alpha=0.1)


def test_wrong_constants() -> None:
    with pytest.raises(ValueError, match=r"qsr_alpha 0\.0: expected"):
        split(workers=2, qsr_alpha=0.0)
    with pytest.raises(ValueError, match=r"qsr_alpha 0\.1: the rates of newbob are not known before"):
        training_options(workers=2, qsr_alpha=0.1, schedule="newbob")
