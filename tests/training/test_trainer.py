"""Training: the schedule case by case, and small runs on data that can be learnt."""

from pathlib import Path

import numpy as np
import pytest
import torch

from asr_parallel.cli.main import main
from asr_parallel.features.archive import write_archive
from asr_parallel.features.frames import FrameStore
from asr_parallel.features.make_frames import make_frames
from asr_parallel.nnet.network import Network
from asr_parallel.record.files import write_json
from asr_parallel.training.channel import mask_filters, vary_channel
from asr_parallel.training.newbob import Newbob
from asr_parallel.training.trainer import TrainingOptions, evaluate, train

NUM_PDFS = 3


@pytest.mark.parametrize(
    ("losses", "accepted", "rates", "finished_after"),
    [
        # steady gains: the rate stays; a gain of 0.5 % starts halving; one of 0.05 % while halving ends training
        ([8.0, 6.0, 5.97, 5.0, 4.9975], [1, 1, 1, 1, 1], [1, 1, 0.5, 0.25, 0.125], 5),
        # a worse epoch is rejected and starts halving; the next is measured against the best, not against it
        ([8.0, 9.0, 7.0, 6.9995], [1, 0, 1, 1], [1, 0.5, 0.25, 0.125], 4),
        # two worse ones: the second ends it
        ([8.0, 9.0, 9.0], [1, 0, 0], [1, 0.5, 0.25], 3),
        # not a number is worse than anything
        ([float("nan"), 9.0, 8.0], [0, 1, 1], [0.5, 0.25, 0.125], None),
        # gains of just over 1 % are enough to go on at the full rate
        ([9.8, 9.7], [1, 1], [1, 1], None),
    ],
)
def test_newbob(losses: list[float], accepted: list[int], rates: list[float], finished_after: int | None) -> None:
    schedule = Newbob(1.0, 10.0)
    for k, (loss, want, rate) in enumerate(zip(losses, accepted, rates, strict=True), start=1):
        assert schedule.step(loss) == bool(want), k
        assert schedule.learning_rate == pytest.approx(rate), k
        assert schedule.finished == (k == finished_after), k


def test_newbob_keeps_its_first_epochs_whatever_they_bring() -> None:
    schedule = Newbob(1.0, 10.0, keep_epochs=2)
    assert [schedule.step(loss) for loss in (12.0, 13.0, 11.0)] == [True, True, True]
    assert (schedule.learning_rate, schedule.best_loss) == (1.0, 11.0)


def test_newbob_halves_when_it_is_told_to() -> None:
    schedule = Newbob(1.0, 10.0, halve_from=2)
    rates = []
    for loss in (5.0, 4.0, 3.0, 2.0):
        assert schedule.step(loss)
        rates.append(schedule.learning_rate)
    assert rates == [1.0, 0.5, 0.25, 0.125]
    assert not schedule.finished


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    """Frames whose pdf shows in which of three dimensions is large, two frames *earlier*: context is needed."""
    feats, out = tmp_path_factory.mktemp("feats"), tmp_path_factory.mktemp("frames")
    random = np.random.default_rng(0)
    labels = {f"u{k:02}": np.repeat(random.integers(0, NUM_PDFS, 40), 3) for k in range(30)}
    matrices = [
        (name, name[:2], (np.roll(np.eye(3)[pdf_ids], -2, axis=0) + 0.5 * random.standard_normal((120, 3))))
        for name, pdf_ids in labels.items()
    ]
    write_archive(feats, matrices)
    write_json(feats / "kind.json", {"kind": "fbank"})
    make_frames(feats, labels, NUM_PDFS, out)
    return FrameStore.open(out)


def options(**changes: object) -> TrainingOptions:
    base: dict[str, object] = {
        "hidden_layers": 2,
        "hidden_dim": 16,
        "minibatch": 32,
        "max_epochs": 4,
        "learning_rate": 0.01,
    }
    return TrainingOptions(**{**base, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_it_learns(store: FrameStore, activation: str) -> None:
    network, epochs = train(store, options(activation=activation, max_epochs=8))
    assert epochs[-1].held_out.accuracy > 0.85
    best = min(epoch.held_out.loss for epoch in epochs)
    _, held_out = store.split(0.1, "utterance", 0)
    assert evaluate(network.net, store, store.rows_of(held_out)).loss == pytest.approx(best, abs=1e-6)
    assert np.exp(network.log_prior).sum() == pytest.approx(1, abs=1e-5)


def test_the_first_step_is_the_rate_times_the_summed_gradient(store: FrameStore) -> None:
    rows = store.rows_of(store.split(0.1, "utterance", 0)[0])
    one_batch = options(minibatch=len(rows), max_epochs=1, learning_rate=1e-5)
    before = train(store, options(max_epochs=0))[0].net
    after = train(store, one_batch)[0].net
    x, y = torch.from_numpy(store.gather(rows)).float(), torch.from_numpy(store.labels[rows].astype(np.int64))
    before.zero_grad()
    torch.nn.functional.cross_entropy(before(x), y, reduction="sum").backward()
    for p, q in zip(before.parameters(), after.parameters(), strict=True):
        assert p.grad is not None
        torch.testing.assert_close(q, p - 1e-5 * p.grad, atol=1e-5, rtol=1e-4)


def test_a_seed_decides_everything(store: FrameStore, tmp_path: Path) -> None:
    torch.manual_seed(5)
    first, epochs = train(store, options(dropout=0.2, max_epochs=2))
    torch.manual_seed(6)
    again, epochs_again = train(store, options(dropout=0.2, max_epochs=2))
    other, _ = train(store, options(dropout=0.2, max_epochs=2, seed=1))
    weights = [n.net.state_dict()["layers.0.weight"] for n in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert [e.held_out for e in epochs] == [e.held_out for e in epochs_again]
    first.save(tmp_path)
    assert torch.equal(Network.open(tmp_path).net.state_dict()["layers.0.weight"], weights[0])


def test_a_ruinous_rate_is_rejected_and_the_start_kept(store: FrameStore) -> None:
    network, epochs = train(store, options(learning_rate=50.0, max_epochs=3, activation="relu"))
    untrained, _ = train(store, options(max_epochs=0, activation="relu"))
    assert not any(epoch.accepted for epoch in epochs)
    assert len(epochs) == 2  # the second failure while halving ends it
    assert torch.equal(network.net.state_dict()["layers.0.weight"], untrained.net.state_dict()["layers.0.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"minibatch": 0}, "minibatch 0"),
        ({"minibatch": 10_000}, "only 3240 frames to train on, less than one minibatch of 10000"),
        ({"activation": "tanh"}, "unknown activation"),
        ({"learning_rate": 0.0}, "learning_rate 0.0: expected a number above 0"),
        ({"mask_filters": -1}, "mask_filters -1: expected a number of at least 0"),
        ({"seed": -1}, "seed -1: expected"),
        ({"channel_tilt": float("nan")}, "channel_tilt nan: expected"),
    ],
)
def test_bad_options(store: FrameStore, change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(store, options(**change))


def test_the_verb_without_its_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train-dnn", "--frames", str(tmp_path / "frames"), "--out", str(tmp_path / "dnn")]) == 1
    assert "frames: does not exist; run the stage that makes it first" in capsys.readouterr().err
    assert main(["train-dnn", "--frames", str(tmp_path), "--out", str(tmp_path / "dnn"), "--threads", "0"]) == 1
    assert "--threads must be above 0" in capsys.readouterr().err
    assert not (tmp_path / "dnn").exists()


def test_a_varied_channel_is_the_same_in_all_frames_of_an_example() -> None:
    torch.manual_seed(0)
    offsets = vary_channel(torch.zeros(4000, 11 * 5), 5, tilt=0.3, ripple=0.2).view(4000, 11, 5)
    assert torch.equal(offsets, offsets[:, :1].expand_as(offsets))
    end, middle = (0.3**2 * 2 + 0.2**2) ** 0.5, (0.3**2 + 0.2**2) ** 0.5
    torch.testing.assert_close(offsets[:, 0].std(dim=0)[[0, 2, 4]], torch.tensor([end, middle, end]), rtol=0.05, atol=0)
    assert not vary_channel(torch.zeros(2, 55), 5, tilt=0.0, ripple=0.0).any()


def test_training_with_varied_channels_still_learns(store: FrameStore) -> None:
    _, epochs = train(store, options(channel_tilt=0.2, channel_ripple=0.1, max_epochs=8))
    assert epochs[-1].held_out.accuracy > 0.8


def test_a_mask_is_one_band_in_all_frames() -> None:
    torch.manual_seed(0)
    masked = mask_filters(torch.ones(2000, 11 * 8), 8, widest=3).view(2000, 11, 8) == 0
    assert torch.equal(masked, masked[:, :1].expand_as(masked))
    bands = masked[:, 0].int()
    assert bands.sum(dim=1).unique().tolist() == [0, 1, 2, 3]
    edges = torch.nn.functional.pad(bands, (1, 1)).diff(dim=1)
    assert int((edges == 1).sum(dim=1).max()) == 1  # never two bands
    assert bands.float().mean(dim=0)[2:].sub(1.5 / 8).abs().max() < 0.03
