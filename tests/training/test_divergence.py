"""Reasons to stop a training: a bad loss, a bad one everywhere, a held-out loss far above the untrained network's."""

import logging
import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from asr_parallel.features.frames import FrameStore
from asr_parallel.parallel.sync_info import DivergedError
from asr_parallel.parallel.transport import SingleProcess
from asr_parallel.training.divergence import check_divergence, check_replicas_equal, has_diverged, highest_loss
from asr_parallel.training.evaluation import Score
from asr_parallel.training.train_options import TrainingOptions, config_identity, training_options
from asr_parallel.training.trainer import Trainer


class Received(SingleProcess):
    """What the processes gather is given."""

    def __init__(self, values: list[float]) -> None:
        self.values = values

    def all_gather_object(self, value: object) -> list[float]:
        return self.values


def test_one_bad_loss_is_enough_unless_workers_are_on_their_own() -> None:
    assert check_divergence(Received([-1, -1]), -1, everywhere=False) is None
    assert check_divergence(Received([-1, 640]), -1, everywhere=False) == 640
    assert check_divergence(Received([-1, 640]), -1, everywhere=True) is None
    assert check_divergence(Received([128, 640]), 128, everywhere=True) == 128


def test_a_common_model_that_has_come_apart_is_noticed() -> None:
    check_replicas_equal(Received([1.0, 1.0]), torch.ones(1))
    with pytest.raises(ValueError, match=r"differs between them \(sums of parameters \[1.0, 1.5\]\)"):
        check_replicas_equal(Received([1.0, 1.5]), torch.ones(1))


def test_isolated_workers_do_without_one_that_returns_nan(frames_folder: Path, tmp_path: Path) -> None:
    options = training_options(
        workers=2, algorithm="none", hidden_layers=1, hidden_dim=8, minibatch=64, epochs=1, combine=0
    )
    trainer = Trainer(FrameStore.open(frames_folder), options, tmp_path)
    trainer.network.parameters[1] = torch.nan
    trainer.network.parameters_changed()
    network = trainer.run()
    assert network is not None and bool(network.net.parameters.isfinite().all())
    trainer = Trainer(FrameStore.open(frames_folder), options, tmp_path)
    trainer.network.parameters.fill_(torch.nan)
    trainer.network.parameters_changed()
    with pytest.raises(ValueError, match="training diverged: the loss of minibatch 1 "):
        trainer.run()


def test_what_decides_a_network() -> None:
    assert config_identity(training_options(fault_tolerant=True)) == config_identity(training_options())
    assert config_identity(training_options(workers=2)) != config_identity(training_options())


UNLIMITED = {"max_change": 1e30, "max_change_output": 1e30, "max_param_change": 1e30}


def ruinous(**changes: Any) -> TrainingOptions:
    base: dict[str, Any] = {
        "hidden_layers": 2, "hidden_dim": 16, "minibatch": 32, "epochs": 2, "combine": 0, "nonlinearity": "relu-renorm",
        "precision": "float32", **UNLIMITED,
    }  # fmt: skip
    return training_options(**{**base, **changes})


def test_twice_the_untrained_loss_is_too_much() -> None:
    assert highest_loss(6.5, 643) == 13.0 and highest_loss(6.4, 643) == pytest.approx(2 * math.log(643))
    assert highest_loss(1.5, 643) == pytest.approx(12.93, abs=0.01)  # of a training that starts from a trained network


@pytest.mark.parametrize(
    ("loss", "train_loss", "diverged"),
    [
        (9000.0, 8000.0, True), (9000.0, 1.0, True), (math.nan, math.nan, True), (math.inf, None, True),
        (13.1, 6.6, True), (13.1, None, True), (13.1, math.nan, True), (13.1, 6.4, False),  # learnt too well
        (65.1, 0.1, True), (12.9, 9.0, False), (2.0, 1.9, False),
    ],
)  # fmt: skip
def test_a_network_that_learns_its_training_data_too_well_has_not_diverged(
    loss: float, train_loss: float | None, diverged: bool
) -> None:
    assert has_diverged(loss, train_loss, highest_loss(6.5, 643)) == diverged


@pytest.mark.parametrize(("losses", "goes_on"), [((5.0, 1.0), True), ((5.0, 5.0), False), ((20.0, 1.0), False)])
def test_a_training_may_come_back_from_a_bad_first_epoch(
    frames_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, losses: tuple[float, ...], goes_on: bool
) -> None:
    """Five times an untrained network's loss is not hopeless before the end."""
    options = ruinous(optimizer="sgd", learning_rate=10.0)  # so that the training data are not learnt either
    trainer = Trainer(FrameStore.open(frames_folder), options, tmp_path)
    left = iter(losses)
    monkeypatch.setattr(trainer.evaluator, "score", lambda: (Score(math.log(3) * next(left), 0.0), None))
    with nullcontext() if goes_on else pytest.raises(DivergedError, match="held-out loss"):
        assert trainer.run() is not None
    assert trainer.checkpoints.last_frames == (trainer.frames if goes_on else 0)  # none after a bad epoch


@pytest.mark.parametrize(
    ("algorithm", "workers", "optimizer", "rate"),
    [
        ("none", 1, "sgd", 10.0), ("none", 1, "ng-sgd", 10.0), ("none", 1, "momentum", 10.0),
        ("none", 1, "adam", 100.0), ("none", 2, "sgd", 10.0),
        ("average", 2, "sgd", 10.0), ("average", 2, "ng-sgd", 10.0),
        ("block-momentum", 2, "sgd", 10.0), ("elastic", 2, "sgd", 10.0), ("gradient", 2, "ng-sgd", 10.0),
        ("colearn", 2, "sgd", 10.0), ("ensemble", 2, "sgd", 10.0),
    ],
)  # fmt: skip
def test_a_finite_loss_far_above_the_untrained_one_is_no_result(
    frames_folder: Path, tmp_path: Path, algorithm: str, workers: int, optimizer: str, rate: float
) -> None:
    options = ruinous(algorithm=algorithm, workers=workers, optimizer=optimizer, learning_rate=rate)
    trainer = Trainer(FrameStore.open(frames_folder), options, tmp_path)
    with pytest.raises(ValueError, match=r"training diverged: held-out loss \S+ after \d+ frames, 1\.09"):
        trainer.run()


@pytest.mark.parametrize("rate", [10.0, 3.0])
def test_newbob_that_never_was_better_than_no_training_has_diverged(
    frames_folder: Path, tmp_path: Path, rate: float
) -> None:
    options = ruinous(optimizer="sgd", schedule="newbob", learning_rate=rate)
    with pytest.raises(ValueError, match="training diverged: held-out loss"):
        Trainer(FrameStore.open(frames_folder), options, tmp_path).run()


def test_newbob_goes_on_after_an_epoch_that_it_took_back(
    frames_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ruinous(optimizer="sgd", schedule="newbob", learning_rate=0.01, epochs=3)
    trainer = Trainer(FrameStore.open(frames_folder), options, tmp_path)
    score, scores = trainer.evaluator.score, []

    def bad_at_first() -> tuple[Score, None]:
        scores.append(Score(1e30, 0.0) if not scores else score()[0])
        return scores[-1], None

    monkeypatch.setattr(trainer.evaluator, "score", bad_at_first)
    assert trainer.run() is not None and scores[-1].loss < 1


def test_no_checkpoint_is_made_of_a_training_that_diverges(
    frames_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = Trainer(FrameStore.open(frames_folder), ruinous(optimizer="sgd", learning_rate=10.0), tmp_path)
    sane = [trainer.divergence.is_sane(torch.tensor([loss * 32]), [32], 0) for loss in (0.1, 2.1, 2.3, 1e30, math.nan)]
    assert sane == [True, True, False, False, False]
    with pytest.raises(ValueError, match="diverged"), caplog.at_level(logging.WARNING):
        trainer.run(checkpoint_frames=32)
    assert "no checkpoint after" in caplog.text


@pytest.mark.parametrize(
    ("losses", "frames", "sane"),
    [
        ([math.nan, 0.5], [32, 32], True), ([1e30, 0.5], [32, 32], True),  # left out at the next synchronization
        ([math.nan, math.inf], [32, 32], False), ([1e30, 3.0], [32, 32], False),
        ([0.0, 0.5], [0, 32], True), ([0.0, 1e30], [0, 32], False),  # one's share has ended
    ],
)  # fmt: skip
def test_a_checkpoint_is_kept_while_some_worker_is_of_use(
    frames_folder: Path, tmp_path: Path, losses: list[float], frames: list[int], sane: bool
) -> None:
    trainer = Trainer(FrameStore.open(frames_folder), ruinous(workers=2, algorithm="average"), tmp_path)
    assert trainer.divergence.is_sane(torch.tensor(losses) * torch.tensor(frames), frames, 0) == sane


@pytest.mark.parametrize(
    ("algorithm", "period", "goes_on"), [("none", None, True), ("average", 10**6, True), ("average", 1, False)]
)
def test_a_bad_mean_of_models_that_have_never_met_ends_nothing(
    frames_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str, period: int, goes_on: bool
) -> None:
    options = ruinous(workers=2, algorithm=algorithm, period=period, epochs=1, optimizer="sgd", learning_rate=1e-3)
    trainer = Trainer(FrameStore.open(frames_folder), options, tmp_path)
    monkeypatch.setattr(trainer.evaluator, "score", lambda: (Score(1e30, 0.0), None))
    with nullcontext() if goes_on else pytest.raises(DivergedError, match="held-out loss 1e"):
        assert trainer.run() is not None
