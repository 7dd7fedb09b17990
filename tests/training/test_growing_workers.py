"""Workers whose number grows: every minibatch of every share once an epoch, rates that follow, the modelled time."""

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_minibatches import CPU, SHARES, STORE, VARIATION, minibatches
from test_trainer import lines, options

from asr_parallel.clock.interconnect import PRESETS
from asr_parallel.clock.modelled_clock import ModelledClock
from asr_parallel.features.frames import FrameStore
from asr_parallel.parallel.cost import StepCost
from asr_parallel.parallel.worker_options import split
from asr_parallel.parallel.worker_ramp import WorkerRamp
from asr_parallel.training.growing_minibatches import GrowingMinibatches
from asr_parallel.training.ramp_plan import RampPlan
from asr_parallel.training.trainer import Trainer

EPOCHS = 3


@pytest.fixture(scope="module")
def store(frames_folder: Path) -> FrameStore:
    return FrameStore.open(frames_folder)


def growing(workers: tuple[int, ...] = (0, 1, 2), variation: object = VARIATION) -> GrowingMinibatches:
    return GrowingMinibatches(STORE, SHARES, workers, WorkerRamp(1, 3), EPOCHS, 8, 3, variation, torch.float32, CPU)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.data(), st.integers(1, 4))
def test_every_minibatch_once_an_epoch(counts: list[int], data: st.DataObject, epochs: int) -> None:
    first = data.draw(st.integers(1, len(counts)))
    plan = RampPlan(np.array(counts), WorkerRamp(first, len(counts)), epochs)
    before = first
    for epoch in range(epochs):
        widths = plan.widths(epoch)
        of_workers = [plan.minibatches(epoch, worker) for worker in range(len(counts))]
        taken = np.concatenate([rows for _, rows in of_workers])
        assert sorted(taken) == list(range(sum(counts)))
        for turn, width in enumerate(widths):
            assert [turn in turns for turns, _ in of_workers] == [worker < width for worker in range(len(counts))]
        assert (np.diff(widths[:-1]) >= 0).all() and widths[0] <= len(counts)
        assert plan.working(plan.first_turn(epoch)) >= before
        assert plan.first_turn(epoch + 1) - plan.first_turn(epoch) == len(widths)
        before = plan.working(plan.first_turn(epoch))
    assert plan.working(plan.first_turn(epochs)) >= len(counts) - 1


def test_the_frames_of_an_epoch_are_those_without_a_ramp() -> None:
    own, all_along = growing(), minibatches()
    assert own.frames_per_epoch == all_along.frames_per_epoch
    numbers = []
    for epoch in range(EPOCHS):
        seen = Counter[int]()
        for k, (spliced, labels) in enumerate(own.epoch(epoch)):
            active = own.active(k, epoch)
            trained = np.ones(3, dtype=bool) if active is None else active.numpy()
            assert (own.frames(k, k + 1, epoch) == 8 * trained).all()
            assert bool(spliced[trained].isfinite().all()) and bool(spliced[~trained].isnan().all())
            numbers.append(own.working(epoch, k))
            seen.update(labels[torch.from_numpy(trained)].flatten().tolist())
        wanted = Counter[int]()
        for k, (_, labels) in enumerate(all_along.epoch(epoch)):
            active = all_along.active(k)
            wanted.update((labels if active is None else labels[active]).flatten().tolist())
        assert seen == wanted
        assert own.frames(0, own.minibatches_in(epoch), epoch).sum() == own.frames_per_epoch
    assert numbers == sorted(numbers) and (numbers[0], numbers[-1]) == (1, 3)


def test_neither_processes_nor_interruptions_matter() -> None:
    every = growing()
    for worker in range(3):
        alone = growing((worker,))
        for epoch in range(EPOCHS):
            for k, (of_all, of_one) in enumerate(zip(every.epoch(epoch), alone.epoch(epoch), strict=True)):
                for whole, own in zip(of_all, of_one, strict=True):
                    torch.testing.assert_close(whole[worker : worker + 1], own, equal_nan=True, rtol=0, atol=0)
                assert (alone.active(k, epoch) is None) == (every.frames(k, k + 1, epoch)[worker] > 0)
    rest = list(growing().epoch(1, 4))
    for own, whole in zip(rest, list(every.epoch(1))[4:], strict=True):
        torch.testing.assert_close(own[0], whole[0], equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("algorithm", "more"), [("average", {}), ("average", {"overlap": True, "weights": "equal"}), ("gradient", {})]
)
def test_it_learns_with_rates_that_go_with_the_workers(
    store: FrameStore, tmp_path: Path, algorithm: str, more: dict[str, object]
) -> None:
    period = {"period": 4} if algorithm == "average" else {}
    own = options(workers=4, algorithm=algorithm, workers_first=1, schedule="constant", epochs=6, **period, **more)
    trainer, rates, frames = Trainer(store, own, tmp_path), [], []
    train_on = trainer.train_on

    def noted(minibatch: object, step: object) -> None:
        train_on(minibatch, step)
        rates.append(step.learning_rate)
        frames.append(step.worker_frames)

    trainer.train_on = noted  # type: ignore[method-assign]
    trainer.run(report_frames=500)
    assert lines(tmp_path, "held-out")[-1]["accuracy"] > 0.8
    working = np.array([(of > 0).sum() for of in frames])
    assert (working[0], working.max()) == (1, 4) and np.sum(frames) == 6 * trainer.batches.frames_per_epoch
    scale = {"average": working, "gradient": np.ones_like(working)}[algorithm]
    ends = np.diff(working, prepend=0) < 0  # the last turn of an epoch takes what is left
    np.testing.assert_allclose(np.array(rates)[~ends], 0.01 * scale[~ends])


def test_the_rate_of_given_scale_is_that_of_all_workers(store: FrameStore, tmp_path: Path) -> None:
    trainer = Trainer(store, options(workers=4, algorithm="average", workers_first=2, worker_lr_scale=3.0), tmp_path)
    assert trainer.batches.rate_share(trainer.algorithm, 0, 0) == 0.5
    last = trainer.batches.minibatches_in(3) - 2
    assert trainer.batches.rate_share(trainer.algorithm, 3, last) == 1


def test_workers_that_do_not_train_yet_follow_the_mean(store: FrameStore, tmp_path: Path) -> None:
    trainer = Trainer(store, options(workers=4, algorithm="average", workers_first=1, period=2), tmp_path)
    steps = iter(trainer.minibatches())
    for number in range(4):
        trainer.run_step(next(steps))
        params = trainer.network.parameters
        equal = [bool((of == params[3]).all()) for of in params]
        assert equal == ([True] * 4 if number % 2 else [False, True, True, True])


def test_messages_count_its_own_turns_and_rates(
    store: FrameStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    Trainer(store, options(workers=4, algorithm="average", workers_first=1), tmp_path / "average")
    assert "rates 1 to 4 times the effective" in caplog.text
    trainer = Trainer(store, options(workers=4, algorithm="gradient", workers_first=1), tmp_path / "gradient")
    train_on = trainer.train_on

    def fifth_fails(minibatch: Any, step: Any) -> None:
        train_on(minibatch, step)
        if step.number == 5:
            step.loss_sums.fill_(torch.nan)

    trainer.train_on = fifth_fails  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="the loss of minibatch 5 "):
        trainer.run()


@pytest.mark.parametrize("optimizer", ["ng-sgd", "nesterov"])
def test_who_begins_takes_over_the_first_workers_estimates(store: FrameStore, tmp_path: Path, optimizer: str) -> None:
    chosen = options(workers=3, algorithm="average", workers_first=1, period=16, optimizer=optimizer)
    trainer, begun = Trainer(store, chosen, tmp_path), {0}
    step = trainer.optimizer.step

    def noted(*given: object) -> None:
        late = set(trainer.batches.beginning(trainer.epoch, trainer.minibatch))
        training = trainer.batches.active(trainer.minibatch, trainer.epoch)
        active = set(range(3)) if training is None else set(training.nonzero().flatten().tolist())
        assert late == active - begun
        for name, tensor in trainer.optimizer.state().items():
            for worker in late if tensor.is_floating_point() else ():
                same = torch.equal(tensor[worker], tensor[0])
                assert same == (optimizer == "ng-sgd"), name
        begun.update(late)
        step(*given)

    trainer.optimizer.step = noted  # type: ignore[method-assign]
    while not trainer.finished:
        trainer.run_epoch()
        trainer.end_epoch()
    assert begun == {0, 1, 2}


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 8))
def test_the_clock_counts_what_each_number_of_workers_takes(first: int) -> None:
    def clock(workers: int, **more: object) -> ModelledClock:
        chosen, own = split(workers=workers, algorithm="average", period=16, **more)
        return ModelledClock(chosen, StepCost(0.01, 128, 1_000_000), PRESETS["1gbe"], 1e6, constants=own, epochs=3)

    own, shares = clock(8, workers_first=first), WorkerRamp(first, 8).frame_shares()
    seconds = {m: clock(m).epoch().total for m in shares}
    assert own.epoch().total == pytest.approx(sum(shares[m] * seconds[m] for m in shares))
    assert own.epoch().compute == pytest.approx(sum(shares[m] * clock(m).epoch().compute for m in shares))
    after = own.seconds_after()
    assert after(0) == 0 and after(3e6) == pytest.approx(3 * own.epoch().total)
    assert after(1e3) == pytest.approx(1e-3 * seconds[first])
    assert after(3e6) - after(3e6 - 1e3) == pytest.approx(1e-3 * seconds[8])
    assert own.peak() == pytest.approx(clock(8).peak())
    plain = clock(8).seconds_after()
    assert [plain(frames) for frames in (0.0, 1e6, 3e6)] == pytest.approx([0, seconds[8], 3 * seconds[8]])


def test_more_workers_at_first_are_never_slower_where_the_network_is_free() -> None:
    times = []
    for first in (1, 4, 8):
        chosen, own = split(workers=8, algorithm="average", period=16, workers_first=first)
        times.append(
            ModelledClock(chosen, StepCost(0.01, 128, 1_000_000), PRESETS["nvlink"], 1e6, constants=own).epoch().total
        )
    assert times == sorted(times, reverse=True)
    assert times[0] == pytest.approx(times[2] * 8 / WorkerRamp(1, 8).mean, rel=0.02)
