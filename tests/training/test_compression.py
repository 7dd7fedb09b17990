"""Workers that learn from their ensemble: what is labelled and by whom, what is trained on, and what is as if alone."""

import weakref
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ensembles import PERIOD, WORKERS, Seen, options, run, watched
from torch import Tensor

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.stacked import Layers
from asr_parallel.parallel.ecdnn import ensemble as ensemble_module
from asr_parallel.parallel.ecdnn.compression import Compression
from asr_parallel.parallel.ecdnn.soft_labels import SoftLabels
from asr_parallel.training.trainer import Trainer


@pytest.fixture(scope="module")
def store(frames_folder: Path) -> FrameStore:
    return FrameStore.open(frames_folder)


def logits(seen: Seen, model: Tensor, x: Tensor) -> Tensor:
    """(..., num_pdfs) of a sigmoid network of one hidden layer, written out."""
    layers = Layers.of(seen.trainer.network.spec, model[None])
    (w0, w1), (b0, b1) = layers.weights, layers.biases
    return torch.sigmoid(x @ w0[0].T + b0[0]) @ w1[0].T + b1[0]


def of_all(seen: Seen, position: int) -> Tensor:
    """(R, B, num_pdfs): mean posteriors of the models of the last synchronization, computed at once."""
    chosen, period = seen.trainer.options, seen.trainer.algorithm.period
    start = position // period * period
    x = seen.minibatches[position][0]
    posteriors = [
        torch.softmax(logits(seen, seen.models[start][worker], x) / chosen.soft_labels.temperature, dim=-1)
        for worker in seen.members[start]
    ]
    if chosen.algorithm.exchange == "posteriors":
        posteriors = [SoftLabels.of(posterior, chosen.algorithm.top).dense() for posterior in posteriors]
    stacked, weights = torch.stack(posteriors), torch.ones(len(posteriors), len(x), 1, 1)
    if chosen.algorithm.teachers == "others" and len(posteriors) > 1:  # without a worker's own
        for n, worker in enumerate(seen.members[start]):
            weights[n, worker] = 0.0
    weights /= weights.sum(dim=0)
    if chosen.final_model.ensemble_average == "posterior":
        mean = (weights * stacked).sum(dim=0)
    else:
        mean = (weights * stacked.log()).sum(dim=0).exp()
        mean = mean / mean.sum(dim=-1, keepdim=True)
    return SoftLabels.of(mean, chosen.algorithm.top).dense()


def check_labels(seen: Seen) -> None:
    """The pseudo-labels are those that all models together give the frames that are trained on."""
    assert len(seen.compressed) >= 3
    for position in seen.compressed:
        spliced, _, soft = seen.minibatches[position]
        assert soft is not None
        here = spliced.isfinite().all(dim=(1, 2))
        assert here.any()
        target = soft.target.expand(len(here), -1, -1)
        torch.testing.assert_close(target[here], of_all(seen, position)[here], atol=1e-3, rtol=0)


LABELLINGS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "mean of logarithms": {"ensemble_average": "log-posterior"},
    "warm": {"temperature": 2.0},
    "warm, mean of logarithms": {"temperature": 3.0, "ensemble_average": "log-posterior"},
    "two of three pdfs": {"top": 2},
    "varied frames": {"channel_tilt": 0.3, "mask_filters": 1},
    "overlap": {"overlap": True},
    "others": {"teachers": "others"},
    "others, mean of logarithms": {"teachers": "others", "ensemble_average": "log-posterior"},
    "others, overlap": {"teachers": "others", "overlap": True},
    "posteriors": {"exchange": "posteriors"},
    "posteriors, overlap": {"exchange": "posteriors", "overlap": True},
    "posteriors, one of three pdfs, mean of logarithms": {
        "exchange": "posteriors", "top": 1, "ensemble_average": "log-posterior",
        "seed": 1,  # with others two pdfs may be equally probable but for rounding
    },
}  # fmt: skip


@pytest.mark.parametrize("name", LABELLINGS)
def test_pseudo_labels_are_what_all_models_together_say_of_the_frames(
    store: FrameStore, tmp_path: Path, name: str
) -> None:
    seen = run(store, tmp_path, **LABELLINGS[name])
    lag = WORKERS if "overlap" in LABELLINGS[name] else 0
    positions = [p for p in range(len(seen.minibatches)) if p >= PERIOD and lag <= p % PERIOD < lag + 3]
    assert seen.compressed == positions
    assert len(seen.members) == len(seen.minibatches) // PERIOD
    check_labels(seen)
    if "overlap" not in LABELLINGS[name]:  # workers that start alike agree at first
        targets = [soft.target for _, _, soft in seen.minibatches if soft is not None]
        assert any((target.amax(dim=-1) < 0.9).any() for target in targets)  # not the labels by another name


def test_co_distillation_of_two_learns_from_the_other_in_every_minibatch(store: FrameStore, tmp_path: Path) -> None:
    chosen = {"workers": 2, "teachers": "others", "relabel_fraction": 1.0, "compress_minibatches": PERIOD}
    seen = run(store, tmp_path, **chosen)
    assert seen.compressed == list(range(PERIOD, len(seen.minibatches)))
    check_labels(seen)
    for position in seen.compressed:
        spliced, _, soft = seen.minibatches[position]
        models = seen.models[position // PERIOD * PERIOD]
        for own, other in ((0, 1), (1, 0)):
            if spliced[own].isfinite().all():
                posterior = torch.softmax(logits(seen, models[other], spliced[own]), dim=-1)
                torch.testing.assert_close(soft.target[own], posterior, atol=1e-3, rtol=0)


def test_all_get_the_same_posteriors() -> None:
    with pytest.raises(ValueError, match="teachers others: exchange posteriors gives all the same labels"):
        options(teachers="others", exchange="posteriors")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"overlap": True},
        {"teachers": "others"},
        {"workers": 4, "epochs": 2, "period": 11},
        {"optimizer": "adam"},
    ],
)
def test_without_weight_workers_train_as_if_they_were_alone(
    store: FrameStore, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Bit for bit; shares of four are not equally long."""
    changes = {"learning_rate": 0.001 if "optimizer" in changes else 0.01, "initial": "shared", **changes}
    seen = run(store, tmp_path / "ensemble", pseudo_weight=0.0, **changes)
    assert seen.compressed and not seen.trainer.scheduler.measures.left_out.any()
    changes = {name: value for name, value in changes.items() if name not in ("overlap", "period", "teachers")}
    alone = Trainer(store, options(algorithm="none", period=None, relabel_fraction=None, **changes), tmp_path / "none")
    before = alone.network.parameters.clone()
    alone.run()
    assert torch.equal(seen.trainer.network.parameters, alone.network.parameters)
    assert not torch.equal(before, alone.network.parameters)
    weighted = run(store, tmp_path / "weighted", **{"period": PERIOD, **changes})
    assert not torch.equal(weighted.trainer.network.parameters, alone.network.parameters)


def test_one_worker_trains_as_ever(store: FrameStore, tmp_path: Path) -> None:
    one = Trainer(store, options(workers=1), tmp_path / "ensemble")
    ordinary = options(workers=1, algorithm="average", period=None, relabel_fraction=None)
    networks = [trainer.run() for trainer in (one, Trainer(store, ordinary, tmp_path / "average"))]
    assert torch.equal(networks[0].net.parameters, networks[1].net.parameters)
    assert not (tmp_path / "ensemble" / "ensemble").exists()


@pytest.mark.parametrize("exchange", ["models", "posteriors"])
def test_compression_leaves_shapes_as_they_are(store: FrameStore, tmp_path: Path, exchange: str) -> None:
    seen = watched(store, tmp_path, exchange=exchange)
    before = seen.trainer.network.parameters.shape
    network = seen.trainer.run()
    assert seen.trainer.network.parameters.shape == before == (WORKERS, network.net.parameters.shape[1])
    assert network.spec == seen.trainer.network.spec


@pytest.mark.parametrize("exchange", ["models", "posteriors"])
def test_with_more_compression_than_labels_the_same_minibatches_are_seen_again(
    store: FrameStore, tmp_path: Path, exchange: str
) -> None:
    """Also over the end of an epoch."""
    seen = run(store, tmp_path, compress_minibatches=7, exchange=exchange, epochs=2)
    for start in range(PERIOD, len(seen.minibatches) - 6, PERIOD):
        round_ = seen.minibatches[start : start + 7]
        for turn, (spliced, labels, soft) in enumerate(round_):
            first = round_[turn % 3]
            assert soft is not None and first[2] is not None
            assert torch.equal(spliced, first[0]) and torch.equal(labels, first[1])
            assert torch.equal(soft.target, first[2].target)
        assert not torch.equal(round_[0][0], round_[1][0])
    check_labels(seen)


@pytest.mark.parametrize("exchange", ["models", "posteriors"])
def test_seen_again_or_not_a_worker_has_data_while_its_share_lasts(
    store: FrameStore, tmp_path: Path, exchange: str
) -> None:
    """One of four has seven minibatches less: what it is not given at the end of an epoch does not come again."""
    seen = run(store, tmp_path, workers=4, epochs=3, period=5, relabel_fraction=0.04, compress_minibatches=4,
               exchange=exchange)  # fmt: skip
    counts, length = seen.trainer.batches.counts, seen.trainer.batches.minibatches_per_epoch
    assert sorted(counts.tolist()) == [45, 52, 52, 52]
    for position, (spliced, _, soft) in enumerate(seen.minibatches):
        active = torch.from_numpy(position % length < counts)
        assert spliced[active].isfinite().all()
        if soft is not None:
            assert soft.target.expand(4, -1, -1)[active].isfinite().all()
    assert not seen.trainer.optimizer.skipped.any() and not seen.trainer.scheduler.measures.left_out.any()


def test_with_posteriors_all_workers_see_the_same_frames_and_pseudo_labels(store: FrameStore, tmp_path: Path) -> None:
    seen = run(store, tmp_path, exchange="posteriors")
    for spliced, labels, soft in seen.minibatches:
        alike = torch.equal(spliced[0], spliced[1]) and torch.equal(spliced[0], spliced[2])
        assert alike == (soft is not None)
        if soft is not None:
            assert torch.equal(labels[0], labels[1]) and torch.equal(labels[0], labels[2])
            assert soft.target.shape[0] == 1
    rounds = [seen.minibatches[start][0] for start in range(PERIOD, len(seen.minibatches), PERIOD)]
    assert not torch.equal(rounds[0], rounds[1])  # others in each round


@pytest.mark.parametrize("changes", [{}, {"overlap": True}, {"teachers": "others"}])
def test_a_worker_that_is_not_finite_is_left_out_and_goes_on_from_the_best(
    store: FrameStore, tmp_path: Path, changes: dict[str, Any]
) -> None:
    lost, at = 1, 2 * PERIOD
    seen = watched(store, tmp_path, **changes)
    trainer, losses = seen.trainer, {}
    inner, synchronize = trainer.network.backward, trainer.scheduler.synchronizer.synchronize

    def spoilt(*args: Any) -> Any:
        if len(seen.minibatches) == at + 2:
            trainer.network.parameters[lost] = torch.nan
        return inner(*args)

    def recorded(replicas: Any, info: Any) -> None:
        losses[len(seen.minibatches)] = info.loss.copy()
        synchronize(replicas, info)

    trainer.network.backward, trainer.scheduler.synchronizer.synchronize = spoilt, recorded
    network = trainer.run()
    others = [worker for worker in range(WORKERS) if worker != lost]
    assert seen.members == {done: others if done == at + PERIOD else list(range(WORKERS)) for done in seen.members}
    best = others[int(np.argmin(losses[at + PERIOD][others]))]
    assert torch.equal(seen.models[at + PERIOD][lost], seen.models[at + PERIOD][best])
    assert trainer.sync_stats["left_out"] == [0, 1, 0]
    assert trainer.network.parameters.isfinite().all() and network.net.parameters.isfinite().all()
    seen.minibatches[at + 2 : at + PERIOD] = [(spliced, labels, None) for spliced, labels, _ in
                                              seen.minibatches[at + 2 : at + PERIOD]]  # fmt: skip
    check_labels(seen)


@pytest.mark.parametrize("changes", [{}, {"exchange": "posteriors"}, {"overlap": True, "period": 16}])
def test_few_bytes_are_enough_for_the_same_labels(
    store: FrameStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """Models come again for every part of the frames; frames and posteriors in memory stay within the limit."""
    whole = run(store, tmp_path / "whole", relabel_fraction=0.06, **changes)
    one = 4 * 16 * (store.spliced_dim + store.num_pdfs) * (1 if "exchange" in changes else WORKERS)
    for fit in (1, 2):
        monkeypatch.setattr(ensemble_module, "Compression", partial(Compression, labelled_bytes=fit * one + 99))
        seen = watched(store, tmp_path / str(fit), relabel_fraction=0.06, **changes)
        sizes = asked_at_once(seen)
        seen.trainer.run()
        assert max(sizes) == fit
        if "overlap" in changes:  # more turns make the way to the compression longer
            lag = WORKERS * 4 // fit
            assert seen.compressed[:4] == [16 + lag, 17 + lag, 18 + lag, 19 + lag]
            check_labels(seen)
        else:
            assert torch.equal(seen.trainer.network.parameters, whole.trainer.network.parameters)


def test_frames_in_common_are_read_where_a_workers_own_are(store: FrameStore, tmp_path: Path) -> None:
    """A GPU holds the frame store once."""
    trainer = Trainer(store, options(exchange="posteriors"), tmp_path)
    compression = trainer.compression
    assert compression is not None and compression._in_common is not None
    assert compression._in_common.loader is trainer.batches.loader


def test_turns_do_not_depend_on_products(store: FrameStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models come round equally often in processes with float32 and with bf16 products."""
    room = 3 * 4 * WORKERS * 16 * (store.spliced_dim + store.num_pdfs) - 1
    monkeypatch.setattr(ensemble_module, "Compression", partial(Compression, labelled_bytes=room))
    made = [Trainer(store, options(precision=precision), tmp_path).compression for precision in ("float32", "bf16")]
    assert [of_one._at_once for of_one in made if of_one is not None] == [2, 2]


def asked_at_once(seen: Seen) -> list[int]:
    """The number of minibatches in memory for labelling, each time."""
    compression, sizes = seen.trainer.compression, []
    room = compression._zeros

    def counted(spliced: Tensor) -> Tensor:
        rooms.append(weakref.ref(total := room(spliced)))
        sizes.append(sum(of_one() is not None for of_one in rooms))
        return total

    rooms: list[weakref.ref] = []
    compression._zeros = counted
    return sizes
