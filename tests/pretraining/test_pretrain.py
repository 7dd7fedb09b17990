"""Pretraining: layers on frames, killed and resumed, finished layers kept, replicas, and what is refused."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from asr_parallel.features.frames import FrameStore
from asr_parallel.parallel import registry
from asr_parallel.parallel.algorithm import Algorithm, Context
from asr_parallel.parallel.algorithms.average import AverageOptions
from asr_parallel.parallel.sync_info import DivergedError, Sync
from asr_parallel.parallel.transport import SingleProcess
from asr_parallel.pretraining import rbm_options as pretrain_options
from asr_parallel.pretraining.check_features import check_normalised
from asr_parallel.pretraining.rbm_metrics import Stack
from asr_parallel.pretraining.rbm_options import PretrainOptions
from asr_parallel.pretraining.rbm_trainer import LayerTrainer


@pytest.fixture(scope="module")
def store(frames_folder: Path) -> FrameStore:
    """The features are normalised in mean only: here in variance too."""
    found = FrameStore.open(frames_folder)
    frames = found.frames.astype(np.float32)
    return dataclasses.replace(found, frames=(frames / frames.std(axis=0)).astype(np.float16))


def options(**changes: object) -> PretrainOptions:
    base: dict[str, object] = {"layers": 2, "hidden_dim": 8, "minibatch": 32, "precision": "float32"}
    return PretrainOptions(**{**base, **changes})  # type: ignore[arg-type]


def lines(work: Path) -> list[dict]:
    return [json.loads(line) for line in (work / "train.jsonl").read_text().splitlines()]


def test_two_layers_learn_to_reconstruct(store: FrameStore, tmp_path: Path) -> None:
    given = options(epochs=3, rate_gaussian=0.05)
    first = LayerTrainer(store, given, Stack([]), tmp_path / "1").run(1000, 10**9)
    second = LayerTrainer(store, given, Stack([first]), tmp_path / "2").run(1000, 10**9)
    assert (first.spec.gaussian, second.spec.gaussian) == (True, False)
    for folder, least in (("1", 0.9), ("2", 1.0)):
        errors = [line["reconstruction_error"] for line in lines(tmp_path / folder)]
        assert errors[-1] < least * errors[0]


def test_resumed_is_bit_identical(store: FrameStore, tmp_path: Path) -> None:
    straight = LayerTrainer(store, options(), Stack([]), tmp_path / "straight").run(500, 10**9)
    broken = LayerTrainer(store, options(), Stack([]), tmp_path / "broken")
    for minibatch in broken.minibatches():
        broken.run_step(minibatch)
        if broken.frames == 640:
            broken.save()
        if broken.frames == 960:
            break
    again = LayerTrainer(store, options(), Stack([]), tmp_path / "broken")
    checkpoint = again.newest_checkpoint()
    assert checkpoint is not None
    again.resume(checkpoint)
    resumed = again.run(10**9, 10**9)
    assert torch.equal(resumed.parameters, straight.parameters)
    assert torch.equal(resumed.velocity, straight.velocity)


def test_workers_of_uneven_shares_meet_and_learn(store: FrameStore, tmp_path: Path) -> None:
    """Two workers, three speakers."""
    given = options(epochs=3, rate_gaussian=0.05, workers=2, period=4, share_by="speaker")
    trainer = LayerTrainer(store, given, Stack([]), tmp_path / "2")
    assert len(set(trainer.batches.counts)) > 1
    rbm = trainer.run(1000, 10**9)
    assert rbm.parameters.shape[0] == 1 and rbm.parameters.isfinite().all()
    errors = [line["reconstruction_error"] for line in lines(tmp_path / "2")]
    assert errors[-1] < 0.95 * errors[0]


def test_isolated_workers_each_do_what_they_do_in_another_run(store: FrameStore, tmp_path: Path) -> None:
    """A worker's data and random numbers follow from its number: nothing of another shows in it."""
    given = options(workers=2, algorithm="none", share_by="speaker")
    both = LayerTrainer(store, given, Stack([]), tmp_path / "both")
    both.run(10**9, 10**9)
    for worker in range(2):

        class One(SingleProcess):
            rank, size = worker, 2

            def all_gather_object(self, value: object) -> list[object]:
                return [value, value]

        one = LayerTrainer(store, given, Stack([]), tmp_path / str(worker), One())
        for epoch in range(one.epochs):
            one.epoch, one.minibatch = epoch, 0
            one.run_epoch()
        assert torch.equal(one.rbm.parameters[0], both.rbm.parameters[worker])


def test_resumed_workers_are_bit_identical_in_the_second_layer_too(store: FrameStore, tmp_path: Path) -> None:
    given = options(workers=3, period=3, epochs=2)
    first = LayerTrainer(store, given, Stack([]), tmp_path / "first").run(500, 10**9)
    straight = LayerTrainer(store, given, Stack([first]), tmp_path / "straight").run(500, 10**9)
    broken = LayerTrainer(store, given, Stack([first]), tmp_path / "broken")
    for minibatch in broken.minibatches():
        broken.run_step(minibatch)
        if broken.minibatch == 7:  # between two averages
            broken.save()
        if broken.minibatch == 11:
            break
    again = LayerTrainer(store, given, Stack([first]), tmp_path / "broken")
    checkpoint = again.newest_checkpoint()
    assert checkpoint is not None
    again.resume(checkpoint)
    assert torch.equal(again.run(10**9, 10**9).parameters, straight.parameters)


def test_momentum_follows_kaldis_ramp() -> None:
    correct, as_kaldi = options(with_bug=False), options(with_bug=True)
    assert [correct.momentum(f) for f in (0, 499_999, 10_000_000, 10**9)] == pytest.approx([0.5, 0.5, 0.7, 0.9])
    assert [as_kaldi.momentum(f) for f in (0, 100, 10**9)] == pytest.approx([0.5, 0.9, 0.9])
    assert as_kaldi.scheduled_momentum(100) == 0.5  # the rate follows the ramp all the same


def test_rate_comes_back_after_the_first_minibatch_and_with_every_step_of_the_momentum(
    store: FrameStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the ramp has ended, here after the first of its steps of three minibatches."""
    monkeypatch.setattr(pretrain_options, "MOMENTUM_STEP_FRAMES", 96)
    monkeypatch.setattr(pretrain_options, "MOMENTUM_STEPS", 1)
    trainer = LayerTrainer(store, options(), Stack([]), tmp_path)
    restored = []
    for minibatch in trainer.minibatches():
        trainer.rbm.lr_scale.fill_(0.5)
        trainer.run_step(minibatch)
        if trainer.rbm.lr_scale.item() == 1:
            restored.append(trainer.minibatch)
    assert restored[:4] == [1, 3, 6, 9]


def test_features_that_are_not_normalised_are_refused(store: FrameStore) -> None:
    rows = store.rows_of(np.arange(len(store.ids)))
    for factor, value, words in ((3, 0, "outside"), (0, 1, "constant"), (1, np.nan, "not finite")):
        frames = np.array(store.frames)
        frames[:, 1] = frames[:, 1] * factor + value
        with pytest.raises(ValueError, match=rf"1 of 3 feature dimensions are .*{words}.*: 1 \("):
            check_normalised(dataclasses.replace(store, frames=frames), rows)


def test_collapsed_and_diverged_layers_stop(store: FrameStore, tmp_path: Path) -> None:
    dead = LayerTrainer(store, options(rate_gaussian=1e-6), Stack([]), tmp_path / "dead")
    dead.rbm.parts.hidden_bias.fill_(-100)
    with pytest.raises(ValueError, match="layer 1 collapsed: all 8 hidden units are off"):
        dead.run(100, 10**9)
    lost = LayerTrainer(store, options(), Stack([]), tmp_path / "lost")
    lost.rbm.parameters[0, 0] = torch.inf
    with pytest.raises(ValueError, match="layer 1 diverged"):
        lost.run(100, 10**9)


@pytest.mark.parametrize("report_frames", [100, 10**9])
def test_a_finite_error_far_above_that_of_no_reconstruction_is_no_result(
    store: FrameStore, tmp_path: Path, report_frames: int
) -> None:
    wild = options(rate_gaussian=1e5, workers=4, epochs=3)
    with pytest.raises(DivergedError, match=r"layer 1 diverged: reconstruction error \S+ at the end"):
        LayerTrainer(store, wild, Stack([]), tmp_path).run(report_frames, 10**9)


@pytest.mark.parametrize(
    "bad",
    [
        {"layers": 0},
        {"rate_gaussian": 0.0},
        {"l2": -1.0},
        {"momentum_max": 1.0},
        {"algorithm": "none", "period": 4},
        {"share_by": "sex"},
    ],
)
def test_options_out_of_range(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        options(**bad)


class SignedMean(Algorithm):
    """The global model steps along the sign of the workers' mean change: a rule that needs their models alone."""

    has_separate_global_model = True

    def start(self, model: Tensor, context: Context) -> None:
        self.shared["global"] = model.clone()

    def merge(self, params: Tensor, sync: Sync) -> Tensor:
        return self.shared["global"].add_((sync.mean() - self.shared["global"]).sign(), alpha=0.01)

    def global_model(self, params: Tensor, sync: Sync) -> Tensor:
        return self.shared["global"]


@pytest.mark.parametrize("algorithm", ["signed", "elastic", "block-momentum"])
def test_an_algorithm_that_needs_models_alone_pretrains(
    store: FrameStore, tmp_path: Path, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_entries", {one.name: one for one in registry.entries() if one.name != "signed"})
    registry.register("signed", options=AverageOptions)(SignedMean)
    trainer = LayerTrainer(store, options(workers=2, algorithm=algorithm, period=2), Stack([]), tmp_path / algorithm)
    rbm = trainer.run(500, 10**9)
    assert trainer.scheduler.num_syncs > 1 and bool(rbm.parameters.isfinite().all())
    average = LayerTrainer(store, options(workers=2, period=2), Stack([]), tmp_path / "average").run(500, 10**9)
    assert not torch.equal(rbm.parameters, average.parameters)


@pytest.mark.parametrize("algorithm", ["gradient", "ensemble", "colearn"])
def test_an_algorithm_that_needs_more_than_models_is_refused(algorithm: str) -> None:
    with pytest.raises(ValueError, match=f"algorithm {algorithm}: .* needs_models_alone: .*average, .*none") as error:
        options(workers=2, algorithm=algorithm)
    assert "\n" not in str(error.value) and "elastic" in str(error.value)
