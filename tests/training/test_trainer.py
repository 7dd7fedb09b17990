"""Training: small runs on data that can be learnt, every non-linearity, optimiser and schedule, and what goes wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.choices import NONLINEARITIES, OPTIMIZERS
from asr_parallel.nnet.max_change import MaxChange
from asr_parallel.nnet.network import Network
from asr_parallel.nnet.optimizers import optimizer_class
from asr_parallel.training.async_trainer import AsyncTrainer
from asr_parallel.training.evaluation import evaluate, mean_posterior
from asr_parallel.training.final_model import snapshot_frames
from asr_parallel.training.hooks import EpochEnd, Hook
from asr_parallel.training.option_groups import SCHEDULES
from asr_parallel.training.train_options import TrainingOptions, training_options
from asr_parallel.training.trainer import Trainer

NO_LIMITS: dict[str, object] = {"max_change": 0.0, "max_change_output": 0.0, "max_param_change": 0.0}


@pytest.fixture(scope="module")
def store(frames_folder: Path) -> FrameStore:
    return FrameStore.open(frames_folder)


def options(**changes: object) -> TrainingOptions:
    base: dict[str, object] = {
        "hidden_layers": 2,
        "hidden_dim": 16,
        "minibatch": 32,
        "epochs": 4,
        "learning_rate": 0.01,
        "pnorm_group": 3,
        "precision": "float32",
    }
    return training_options(**{**base, **changes})  # type: ignore[arg-type]


def lines(work: Path, kind: str) -> list[dict]:
    every = [json.loads(line) for line in (work / "train.jsonl").read_text().splitlines()]
    return [line for line in every if line["kind"] == kind]


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize("optimizer", ["ng-sgd", "sgd"])
def test_it_learns(store: FrameStore, tmp_path: Path, nonlinearity: str, optimizer: str) -> None:
    rate = 0.02 if nonlinearity == "sigmoid" else 0.004
    network = Trainer(
        store, options(nonlinearity=nonlinearity, optimizer=optimizer, epochs=8, learning_rate=rate), tmp_path
    ).run()
    assert lines(tmp_path, "held-out")[-1]["accuracy"] > 0.85
    assert np.exp(network.log_prior).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_learns(store: FrameStore, tmp_path: Path, schedule: str) -> None:
    Trainer(store, options(schedule=schedule, epochs=6), tmp_path).run()
    assert lines(tmp_path, "held-out")[-1]["accuracy"] > 0.8


@pytest.mark.parametrize(("optimizer", "rate"), [("momentum", 0.01), ("adam", 0.005)])
def test_the_other_optimisers_learn(store: FrameStore, tmp_path: Path, optimizer: str, rate: float) -> None:
    Trainer(store, options(optimizer=optimizer, learning_rate=rate, epochs=6), tmp_path).run()
    assert lines(tmp_path, "held-out")[-1]["accuracy"] > 0.8


def test_bf16_learns_as_float32_does(store: FrameStore, tmp_path: Path) -> None:
    losses = []
    for precision in ("float32", "bf16"):
        Trainer(store, options(precision=precision, epochs=6), tmp_path / precision).run()
        losses.append(lines(tmp_path / precision, "held-out")[-1]["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=0.1)  # in float32 seeds 1 to 4 differ by 13 %


def test_the_first_step_is_the_rate_times_the_summed_gradient(store: FrameStore, tmp_path: Path) -> None:
    rows = store.rows_of(store.split(0.1, "utterance")[0])
    whole = options(optimizer="sgd", schedule="constant", minibatch=len(rows), epochs=1, learning_rate=1e-5, combine=0)
    trainer = Trainer(store, whole, tmp_path)
    before = trainer.network.parameters.clone()
    x = torch.from_numpy(store.gather(rows)).float()[None]
    back = trainer.network.backward(x, torch.from_numpy(store.labels[rows].astype(np.int64))[None])
    after = trainer.run().net
    for k, weight in enumerate(after.layers.weights):
        place = trainer.network.layers.weights[k]
        start = before[0, place.storage_offset() :][: place[0].numel()].view_as(place[0])
        gradient = back.derivatives[k][0].mT @ back.inputs[k][0]
        torch.testing.assert_close(weight[0], start - 1e-5 * gradient, atol=1e-6, rtol=1e-4)


def test_a_seed_decides_everything(store: FrameStore, tmp_path: Path) -> None:
    def parameters(name: str, **changes: object) -> torch.Tensor:
        return (
            Trainer(store, options(epochs=2, mask_filters=2, channel_tilt=0.1, **changes), tmp_path / name)
            .run()
            .net.parameters
        )

    torch.manual_seed(5)
    first = parameters("first")
    torch.manual_seed(6)
    assert torch.equal(first, parameters("again"))
    assert not torch.equal(first, parameters("other", seed=1))


@pytest.mark.parametrize("by", ["utterance", "speaker"])
@pytest.mark.parametrize(("algorithm", "workers"), [("none", 1), ("average", 2), ("ensemble", 2), ("downpour", 2)])
def test_every_seed_and_algorithm_is_evaluated_on_the_same_frames(
    store: FrameStore, tmp_path: Path, algorithm: str, workers: int, by: str
) -> None:
    expected = store.rows_of(store.split(0.2, by)[1])
    make = AsyncTrainer if algorithm == "downpour" else Trainer
    for seed in (0, 1, 2):
        given = options(algorithm=algorithm, workers=workers, seed=seed, held_out=0.2, held_out_by=by, epochs=1)
        trainer = make(store, given, tmp_path / str(seed))
        assert np.array_equal(trainer.exporter.held_out_rows, expected)
        if workers == 1:
            assert trainer.evaluator.score()[0] == evaluate(trainer.network, store, expected)


def test_newbob_keeps_the_best_epoch(store: FrameStore, tmp_path: Path) -> None:
    network = Trainer(store, options(schedule="newbob", learning_rate=0.1, epochs=7), tmp_path).run()
    epochs = lines(tmp_path, "held-out")
    best = min(line["loss"] for line in epochs if line["accepted"])
    _, held_out = store.split(0.1, "utterance")
    assert evaluate(network.net, store, store.rows_of(held_out)).loss == pytest.approx(best, abs=1e-6)


def test_the_combined_model_is_better_than_the_last(
    store: FrameStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wild = options(schedule="constant", learning_rate=0.05, epochs=3)
    with caplog.at_level("INFO", "asr_parallel"):
        combined = Trainer(store, wild, tmp_path).run()
    assert "of 20, held-out loss" in caplog.text and "mean of the last 1 of" not in caplog.text
    rows = store.rows_of(store.split(0.1, "utterance")[1])
    last = lines(tmp_path, "held-out")[-1]["loss"]
    assert evaluate(combined.net, store, rows).loss < last
    assert len(list((tmp_path / "models").iterdir())) == 20


def test_priors_may_be_the_mean_posterior(store: FrameStore, tmp_path: Path) -> None:
    network = Trainer(store, options(prior="posterior", epochs=2), tmp_path).run()
    rows = store.rows_of(store.split(0.1, "utterance")[0])
    np.testing.assert_allclose(np.exp(network.log_prior), mean_posterior(network.net, store, rows), rtol=1e-4)


def test_a_ruinous_rate_stops_with_the_step_and_keeps_the_last_checkpoint(store: FrameStore, tmp_path: Path) -> None:
    trainer = Trainer(store, options(optimizer="sgd", nonlinearity="relu", learning_rate=1e20, **NO_LIMITS), tmp_path)
    with pytest.raises(
        ValueError, match=r"training diverged: the loss of minibatch \d+ \(after \d+ frames\) is not finite, learning"
    ):
        trainer.run(checkpoint_frames=32)
    checkpoint = trainer.checkpoints.newest([0])
    assert checkpoint is not None and checkpoint.frames == 32
    assert checkpoint.workers[0]["network.parameters"].isfinite().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"minibatch": 0}, "minibatch 0: expected a whole number of at least 1"),
        ({"minibatch": 10_000}, "only 3240 frames, less than one minibatch of 10000"),
        ({"nonlinearity": "swish"}, "unknown nonlinearity 'swish'"),
        ({"optimizer": "lbfgs"}, "unknown optimizer 'lbfgs'"),
        ({"learning_rate": 0.0}, r"learning_rate 0\.0: expected a number above 0"),
        ({"mask_filters": -1}, "mask_filters -1: expected a whole number of at least 0"),
        ({"seed": -1}, "seed -1: expected"),
        ({"channel_tilt": float("nan")}, "channel_tilt nan: expected"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"held_out": 1.0}, r"held_out 1\.0: expected a number above 0 and below 1"),
        ({"max_change": -1.0}, r"max_change -1\.0: expected a number of at least 0"),
        ({"max_param_change": float("inf")}, "max_param_change inf: expected a number of at least 0"),
    ],
)
def test_bad_options(store: FrameStore, tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Trainer(store, options(**change), tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_gpu_that_is_not_there_is_refused(store: FrameStore, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match="device cuda: no GPU"):
        Trainer(store, options(device="cuda"), tmp_path)


def test_default_rates() -> None:
    rates = {
        name: [optimizer_class(name).default_rate(kind) for kind in ("relu", "sigmoid", "tanh", "pnorm")]
        for name in OPTIMIZERS
    }
    plain = [3e-4, 0.008, 3e-4, 3e-4]  # Kaldi nnet3, nnet1
    assert rates["sgd"] == rates["momentum"] == rates["nesterov"] == plain
    assert rates["ng-sgd"] == [3e-4, 0.008, 0.01, 0.01]  # Kaldi nnet2
    assert rates["adam"] == [1e-3] * 4
    default = training_options()
    assert (
        default.optimization.optimizer,
        default.schedule.schedule,
        default.optimization.minibatch,
        default.schedule.epochs,
    ) == ("ng-sgd", None, 512, 8)
    assert (default.data.held_out, default.combined, default.final_model.prior, default.machine.precision) == (
        0.1,
        20,
        "counts",
        "auto",
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_limits_are_kaldis_for_every_optimiser(optimizer: str) -> None:
    limits = options(optimizer=optimizer).optimization.limits()
    assert limits is not None and (limits.hidden, limits.output, limits.whole) == (0.75, 1.5, 2.0)
    assert options(optimizer=optimizer, max_change=0.1, max_change_output=0.0).optimization.limits() == MaxChange(
        0.1, 0.0, 2.0
    )
    assert options(optimizer=optimizer, **NO_LIMITS).optimization.limits() is None


@pytest.mark.parametrize("workers", [1, 16])
def test_plain_sgd_does_not_diverge_within_limits(store: FrameStore, tmp_path: Path, workers: int) -> None:
    """At a rate at which it does without them, whether or not the training then says so."""
    high = {"optimizer": "sgd", "nonlinearity": "relu", "learning_rate": 30.0, "workers": workers, "minibatch": 16}
    high |= {"epochs": 1, "period": 2}
    Trainer(store, options(**high), tmp_path / "limited").run()
    assert lines(tmp_path / "limited", "held-out")[-1]["loss"] < 0.5 * np.log(3)
    assert lines(tmp_path / "limited", "train")[-1]["max_change_scale"] < 0.1
    try:
        Trainer(store, options(**high, **NO_LIMITS), tmp_path / "free").run()
    except ValueError as error:
        assert "diverged" in str(error)
    else:
        assert lines(tmp_path / "free", "held-out")[-1]["loss"] > 1e6


def test_limits_leave_less_of_a_k_fold_rate(store: FrameStore, tmp_path: Path) -> None:
    """About 1/K where every step meets them."""
    kept = []
    for workers in (4, 8, 16):
        high = options(optimizer="sgd", learning_rate=0.3, workers=workers, minibatch=16, epochs=1, combine=0)
        Trainer(store, high, tmp_path / str(workers)).run()
        kept.append(lines(tmp_path / str(workers), "train")[0]["max_change_scale"])
    assert 0.3 < kept[1] / kept[0] < 0.8 and 0.3 < kept[2] / kept[1] < 0.8


def test_snapshots_span_the_last_half_epoch() -> None:
    assert snapshot_frames(8000, 1000, 5) == [7600, 7700, 7800, 7900, 8000]
    assert snapshot_frames(100, 1000, 4) == [63, 75, 88, 100]  # a training shorter than an epoch: its last half
    assert snapshot_frames(10, 10, 20)[-1] == 10


def test_latest_weight_averaging_is_the_mean_of_models_an_epoch_apart(store: FrameStore, tmp_path: Path) -> None:
    """The mean of all three is best only by chance, as models are still on their way; which one is, is tried."""
    assert snapshot_frames(8000, 1000, 4, 4.0) == [5000, 6000, 7000, 8000]
    assert snapshot_frames(8000, 1000, 2, 8.0) == [6000, 8000]  # no more than half of the training
    given = {"optimizer": "sgd", "learning_rate": 0.01, "epochs": 6, "combine": 3, "combine_epochs": 3.0, "workers": 2}
    trainer = Trainer(store, options(**given), tmp_path)
    trainer.add_hook(ends := EpochModels(lambda: trainer.scheduler.model(trainer.network)))
    found = trainer.run()
    kept = [load_file(path)["parameters"] for path in trainer.last_models.newest_first]
    assert len(kept) == 3 and all(map(torch.equal, kept, reversed(ends.models[-3:])))
    means = [torch.stack(kept[:count]).double().mean(0).float() for count in (1, 2, 3)]
    assert found is not None
    best = min(float(torch.dist(found.net.parameters[0], mean)) for mean in means)
    assert best < 1e-6 < float(torch.dist(means[0], means[2]))


class EpochModels(Hook):
    """The global model after every epoch."""

    def __init__(self, model: Callable[[], torch.Tensor]) -> None:
        self._model, self.models = model, list[torch.Tensor]()

    def on_epoch_end(self, end: EpochEnd) -> None:
        self.models.append(self._model().clone())


@pytest.mark.parametrize("more", [{"combine": 0}, {"schedule": "newbob"}, {"workers": 2, "algorithm": "ensemble"}])
def test_nothing_to_spread(more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"combine_epochs 2: no models are combined"):
        options(combine_epochs=2.0, **more)


def test_a_saved_network_is_the_trained_one(store: FrameStore, tmp_path: Path) -> None:
    network = Trainer(store, options(epochs=1), tmp_path / "work").run()
    network.save(tmp_path)
    again = Network.open(tmp_path)
    assert torch.equal(network.net.layers.weights[1], again.net.layers.weights[1])
    assert again.feature_config == store.feature_config
