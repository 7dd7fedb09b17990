"""SyncScheduler: when workers synchronize, who is left out, optimisers' state, and resuming from a checkpoint."""

import json
import logging
from typing import Any

import numpy as np
import pytest
import torch
from stand_ins import Models, random_models, scheduler, together
from torch import Tensor

from asr_parallel.parallel.state import State
from asr_parallel.parallel.sync_scheduler import SyncScheduler
from asr_parallel.parallel.transport import Transport
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.parallel.worker_options import WorkerOptions

NAN = float("nan")


class Velocities:
    """An optimiser that synchronizations use; parameters are held `ahead` of where models are compared."""

    def __init__(self, models: Models, ahead: float = 0.0) -> None:
        self.models, self.ahead, self.forgotten = models, ahead, 0
        self.velocity = random_models(len(models.parameters), 6, 5).view(-1, 2, 3)

    def moments(self) -> list[Tensor]:
        return [self.velocity]

    def forget(self) -> None:
        self.forgotten += 1
        self.velocity.zero_()

    def leave_lookahead(self) -> None:
        self.models.parameters -= self.ahead

    def enter_lookahead(self) -> None:
        self.models.parameters += self.ahead


def begin(
    models: Models, more: dict[str, Any] | None = None, transport: Transport | None = None, **options: Any
) -> SyncScheduler:
    return scheduler(models, transport, **(more or {}), **options)


def stored(rounds: SyncScheduler) -> State:
    """The state as a checkpoint holds it."""
    state = rounds.state_dict().clone()
    return State(state.shared, state.per_worker, json.loads(json.dumps(state.values, allow_nan=False)))


def test_minibatches_are_counted_over_epochs_and_checkpoints() -> None:
    models = Models(torch.tensor([[0.0], [4.0]]))
    rounds = begin(models, period=3)
    met = [rounds.after_batch(models, np.array([8, 8]), torch.tensor([1.0, NAN])) for _ in range(4)]
    assert met == [False, False, True, False] and rounds.num_syncs == 1
    again = begin(models, period=3)
    again.load_state_dict(stored(rounds))
    assert [again.after_batch(models, np.array([8, 0])) for _ in range(2)] == [False, True]
    assert again.num_syncs == 2 and again.measures.left_out.tolist() == [0, 2]


def test_isolated_workers_never_meet_and_are_averaged_at_the_end() -> None:
    models = Models(torch.tensor([[0.0], [4.0]]))
    rounds = begin(models, algorithm="none")
    assert not any(rounds.after_batch(models, np.array([8, 8])) for _ in range(9))
    assert models.parameters.tolist() == [[0.0], [4.0]] and rounds.finish(models).tolist() == [2.0]


def test_what_was_learnt_since_the_last_meeting_is_in_the_final_model() -> None:
    models = Models(torch.zeros(2, 1))
    rounds = begin(models, period=10)
    models.parameters += torch.tensor([[1.0], [3.0]])
    rounds.after_batch(models, np.array([1, 3]))
    assert rounds.finish(models).tolist() == [2.5] and rounds.num_syncs == 1


@pytest.mark.parametrize("weights", ["frames", "equal"])
@pytest.mark.parametrize("processes", [1, 2])
def test_between_meetings_the_model_is_what_a_meeting_would_make(weights: str, processes: int) -> None:
    """Five workers: one has no frames, one is not finite and one is far worse than the others."""
    frames, losses = np.array([30, 10, 0, 10, 10]), torch.tensor([1.0, 1.5, 0.0, 1.0, 9.0])
    values = torch.tensor([[1.0], [2.0], [4.0], [NAN], [16.0]])
    counts = frames[:2] if weights == "frames" else np.ones(2)

    def job(transport: Transport) -> None:
        own = list(WorkerGroup(5, transport).local_workers)
        models = Models(values[own].clone())
        rounds = begin(models, None, transport, workers=5, weights=weights, period=3)
        for _ in range(2):
            rounds.after_batch(models, frames, losses[own] * torch.from_numpy(frames[own]), 0.1)
            assert rounds.model(models).item() == pytest.approx(counts @ [1.0, 2.0] / counts.sum())
        assert (
            torch.equal(models.parameters.nan_to_num(-1), values[own].nan_to_num(-1))
            and not rounds.measures.left_out.any()
        )
        between = rounds.model(models).clone()
        rounds.after_batch(models, frames, losses[own] * torch.from_numpy(frames[own]), 0.1)
        assert torch.equal(rounds.model(models), between) and rounds.measures.left_out.tolist() == [0, 0, 0, 1, 1]

    together(processes, job)


def test_who_is_of_no_use_is_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """A model with an infinity, a loss far above the best, a loss that is none; the fourth is worse but not by much."""
    models = Models(torch.tensor([[torch.inf], [9.0], [9.0], [2.0], [4.0]]))
    rounds = begin(models, period=1, weights="equal")
    losses = torch.tensor([1.0, 3.1, NAN, 2.9, 2.0]) * 10
    with caplog.at_level(logging.WARNING):
        rounds.after_batch(models, np.full(5, 10), losses, 0.1)
    assert models.parameters.tolist() == [[3.0]] * 5
    assert rounds.measures.left_out.tolist() == [1, 1, 1, 0, 0]
    assert [record.getMessage()[:36] for record in caplog.records] == [
        f"synchronization 1: worker {k} left out"[:36] for k in range(3)
    ]
    rounds.after_batch(models, np.full(5, 10), torch.ones(5), 0.1)
    assert rounds.measures.left_out.tolist() == [1, 1, 1, 0, 0]


def test_a_limit_that_is_asked_for() -> None:
    for limit, left_out in [(0.5, 1), (1.5, 0)]:
        models = Models(torch.zeros(2, 1))
        rounds = begin(models, {"drop_worse": limit}, period=1)
        rounds.after_batch(models, np.full(2, 10), torch.tensor([10.0, 20.0]))
        assert rounds.measures.left_out.tolist() == [0, left_out]


@pytest.mark.parametrize("name", ["average", "block-momentum", "elastic"])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_model_that_is_not_finite_spoils_no_other(name: str, processes: int) -> None:
    def job(transport: Transport) -> Tensor:
        group = WorkerGroup(3, transport)
        models = Models(torch.zeros(len(group.local_workers), 2))
        rounds = begin(models, {"ema": 0.5}, transport, workers=3, algorithm=name, period=1)
        for t in range(3):
            models.parameters += 1.0
            if t == 1 and 1 in group.local_workers:
                models.parameters[list(group.local_workers).index(1)] = torch.nan
            rounds.after_batch(models, np.full(3, 5), torch.ones(len(group.local_workers)), 0.1)
        assert models.parameters.isfinite().all() and rounds.measures.left_out.tolist() == [0, 1, 0]
        return rounds.finish(models)

    found = together(processes, job)
    assert all(model.isfinite().all() and torch.equal(model, found[0]) for model in found)


def test_a_moving_average_survives_a_bad_model_before_the_first_late_mean() -> None:
    models = Models(torch.zeros(3, 1))
    rounds = begin(models, {"ema": 0.5}, period=1, overlap=True)
    for t in range(3):
        models.parameters += 1.0
        if t == 0:
            models.parameters[1] = torch.nan
        rounds.after_batch(models, np.full(3, 5), torch.ones(3), 0.1)
    assert rounds.finish(models).isfinite().all() and models.parameters.isfinite().all()


@pytest.mark.parametrize("processes", [1, 2])
def test_when_nobody_is_of_use_training_ends(processes: int) -> None:
    def job(transport: Transport) -> None:
        group = WorkerGroup(2, transport)
        models = Models(torch.full((len(group.local_workers), 1), torch.nan))
        rounds = begin(models, None, transport, workers=2, period=1)
        with pytest.raises(ValueError, match=r"diverged: at synchronization 1 no worker's model is valid \(loss"):
            rounds.after_batch(models, np.full(2, 5), torch.full((len(group.local_workers),), NAN), 0.1)

    together(processes, job)


def test_the_optimisers_state_is_kept_averaged_or_reset() -> None:
    for how in ("keep", "average", "reset"):
        models = Models(torch.zeros(2, 1))
        state = Velocities(models)
        before = state.velocity.clone()
        rounds = begin(models, {"optimizer": state, "optimizer_state": how}, period=2)
        rounds.after_batch(models, np.array([1, 9]))
        assert torch.equal(state.velocity, before)
        rounds.after_batch(models, np.array([1, 9]))
        wanted = {"keep": before, "average": before.mean(dim=0).expand(2, 2, 3), "reset": torch.zeros(2, 2, 3)}
        torch.testing.assert_close(state.velocity, wanted[how])
        assert state.forgotten == (how == "reset")


def test_the_state_of_a_worker_left_out_is_not_in_the_mean() -> None:
    models = Models(torch.zeros(3, 1))
    state = Velocities(models)
    wanted = state.velocity[::2].mean(dim=0).expand(3, 2, 3)
    rounds = begin(models, {"optimizer": state, "optimizer_state": "average"}, period=1)
    rounds.after_batch(models, np.array([1, 1, 9]), torch.tensor([1.0, 5.0, 9.0]))
    assert rounds.measures.left_out.tolist() == [0, 1, 0]
    torch.testing.assert_close(state.velocity, wanted)


def test_models_are_compared_where_the_optimiser_has_settled_them() -> None:
    models = Models(torch.tensor([[11.0], [13.0]]))
    rounds = begin(models, {"optimizer": Velocities(models, ahead=10.0)}, algorithm="elastic", period=1)
    seen = []
    merge = rounds.algorithm.merge
    rounds.algorithm.merge = lambda params, sync: seen.append(params.tolist()) or merge(params, sync)
    rounds.after_batch(models, np.array([1, 1]))
    assert seen == [[[1.0], [3.0]]]
    assert (models.parameters > 10).all()  # and back again


@pytest.mark.parametrize("name", ["block-momentum", "colearn"])
def test_velocities_start_anew_where_the_papers_say_so(name: str) -> None:
    options = WorkerOptions(algorithm=name)
    assert [options.optimizer_state_at_sync(of) for of in ("momentum", "nesterov", "adam", "ng-sgd")] == [
        "reset", "reset", "keep", "keep",
    ]  # fmt: skip
    assert WorkerOptions(algorithm=name, optimizer_state="average").optimizer_state_at_sync("momentum") == "average"
    assert WorkerOptions().optimizer_state_at_sync("momentum") == "keep"


def test_a_moving_average_of_the_synchronized_model_is_the_final_one_and_never_goes_back() -> None:
    models = Models(torch.zeros(2, 1))
    rounds = begin(models, {"ema": 0.75}, period=2)
    wanted = 0.0
    for number in range(6):  # of few models it is the plain mean
        models.parameters += torch.tensor([[1.0], [3.0]])
        rounds.after_batch(models, np.array([1, 1]))
        assert rounds.model(models).item() == pytest.approx(wanted)
        rounds.after_batch(models, np.array([1, 1]))
        keep = min(0.75, number / (number + 1))
        wanted = keep * wanted + (1 - keep) * models.parameters[0].item()
        assert rounds.model(models).item() == pytest.approx(wanted)
    assert models.parameters.tolist() == [[12.0], [12.0]] and rounds.finish(models).item() == pytest.approx(wanted)


def test_a_moving_average_costs_no_messages_and_does_not_look_ahead() -> None:
    def job(transport: Transport) -> tuple[int, Tensor]:
        models = Models(torch.full((1, 100), 12.0))
        sums, begun = [], transport.start_all_reduce
        transport.start_all_reduce = lambda tensor: sums.append(tensor.numel()) or begun(tensor)  # type: ignore[method-assign]
        rounds = begin(
            models, {"ema": 0.5, "optimizer": Velocities(models, ahead=10.0)}, transport, workers=2, period=1
        )
        rounds.after_batch(models, np.array([1, 1]))
        return sum(count == 100 for count in sums), rounds.model(models)

    for messages, model in together(2, job):
        assert messages == 1 and model.tolist() == [2.0] * 100


def test_a_moving_average_of_one_model_that_needs_no_meetings() -> None:
    for workers in (1, 3):
        models = Models(torch.zeros(1, 1))
        rounds = begin(models, {"ema": 0.5}, workers=workers, algorithm="gradient")
        for _ in range(2):
            models.parameters += 1.0
            assert not rounds.after_batch(models, np.ones(workers, dtype=int))
        assert rounds.finish(models).tolist() == [0.5 * 1 + 0.5 * 2]


@pytest.mark.parametrize("more", [{}, {"comm_dtype": "int8"}])
def test_a_moving_average_of_one_worker_is_taken_every_period(more: dict[str, Any]) -> None:
    models = Models(torch.full((1, 3), 1 / 3))
    rounds = begin(models, {"ema": 0.5, **more}, workers=1, period=2)
    before, synced = models.parameters.clone(), []
    for _ in range(4):
        models.parameters += torch.tensor([0.1, 1.0, 7.0])
        before += torch.tensor([0.1, 1.0, 7.0])
        synced.append(rounds.after_batch(models, np.array([1])))
        assert torch.equal(models.parameters, before)  # it has nobody to send them to, so nothing is rounded
        if len(synced) == 2:
            first = models.parameters[0].clone()
    assert synced == [False, True, False, True]
    torch.testing.assert_close(rounds.finish(models), 0.5 * first + 0.5 * models.parameters[0])


CASES: list[dict[str, Any]] = [
    {"algorithm": name, "period": 3, "overlap": overlap}
    for name in ("average", "block-momentum", "elastic")
    for overlap in (False, True)
] + [{"algorithm": name, "period": 2, "comm_dtype": "int8"} for name in ("average", "block-momentum", "elastic")]


@pytest.mark.parametrize("options", CASES)
@pytest.mark.parametrize("cut", [2, 3, 7])
def test_from_a_checkpoint_training_goes_on_bit_for_bit(options: dict[str, Any], cut: int) -> None:
    """Also with a mean under way, and in another number of processes than before."""

    def go_on(models: Models, rounds: SyncScheduler, steps: range, own: list[int]) -> None:
        for t in steps:
            models.parameters += random_models(3, 5, t)[own]
            rounds.after_batch(models, np.array([2, 3, 4 - t % 2]), torch.ones(3)[own] * t, 0.1)

    def whole_or_cut(end: int) -> tuple[Models, SyncScheduler]:
        models = Models(torch.zeros(3, 5))
        rounds = begin(models, {"ema": 0.5}, **options)
        go_on(models, rounds, range(end), [0, 1, 2])
        return models, rounds

    whole, whole_rounds = whole_or_cut(11)
    wanted = whole_rounds.finish(whole).clone()
    models, rounds = whole_or_cut(cut)
    state = stored(rounds)
    go_on(models, rounds, range(cut, 11), [0, 1, 2])  # to have looked does no harm
    assert torch.equal(rounds.finish(models), wanted)
    at_cut = whole_or_cut(cut)[0].parameters

    def resumed(transport: Transport) -> Tensor:
        own = list(WorkerGroup(3, transport).local_workers)
        models = Models(torch.zeros(len(own), 5))
        rounds = begin(models, {"ema": 0.5}, transport, workers=3, **options)
        models.parameters.copy_(at_cut[own])
        per_worker = {name: tensor[own] for name, tensor in state.per_worker.items()}
        rounds.load_state_dict(State(state.shared, per_worker, state.values))
        go_on(models, rounds, range(cut, 11), own)
        return rounds.finish(models)

    assert torch.equal(together(1, resumed)[0], wanted)
    for found in together(2, resumed):
        torch.testing.assert_close(found, wanted)
