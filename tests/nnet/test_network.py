"""The trained network: priors, its folder, and what decoding makes of it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from asr_parallel.features.archive import write_archive
from asr_parallel.features.frame_writer import make_frames
from asr_parallel.features.frames import FrameStore
from asr_parallel.features.normalisation import Normalisation
from asr_parallel.nnet import dnn_acoustic_model
from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.dnn_acoustic_model import DnnAcousticModel
from asr_parallel.nnet.network import Network, log_priors
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.record.files import write_json


def network(nonlinearity: str = "sigmoid") -> Network:
    spec = dnn(3, 5, 2, 8, 4, nonlinearity)
    prior = log_priors(np.array([5, 3, 2, 10]))
    config = {"num_filters": 3}
    return Network(StackedNetwork(spec).initialise(1), prior, Normalisation("fbank", False, (1.0, 0.5, 2.0)), config)


def test_priors() -> None:
    got = log_priors(np.array([1, 3, 0, 6]))
    np.testing.assert_allclose(got[[0, 1, 3]], np.log([0.1, 0.3, 0.6]), rtol=1e-6)
    assert got[2] == pytest.approx(np.sqrt(np.finfo(np.float32).max))  # never chosen


@pytest.mark.parametrize("nonlinearity", ["sigmoid", "pnorm"])
def test_what_was_saved_gives_the_same_outputs(tmp_path: Path, nonlinearity: str) -> None:
    made = network(nonlinearity)
    made.save(tmp_path)
    again = Network.open(tmp_path)
    x = torch.randn(7, 33)
    assert torch.equal(made.logits(x), again.logits(x))
    np.testing.assert_array_equal(made.log_prior, again.log_prior)
    assert (made.normalisation, made.spec) == (again.normalisation, again.spec)
    assert made.feature_config == again.feature_config


def test_opening_says_what_is_wrong(tmp_path: Path) -> None:
    network().save(tmp_path)
    np.save(tmp_path / "log_prior.npy", np.zeros(3, dtype=np.float32))
    with pytest.raises(ValueError, match="3 priors for 4 pdfs"):
        Network.open(tmp_path)
    (tmp_path / "net.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"net\.safetensors: not a safetensors file"):
        Network.open(tmp_path)
    (tmp_path / "net.safetensors").unlink()
    with pytest.raises(ValueError, match=r"no net\.safetensors; expected a network made by stage 6"):
        Network.open(tmp_path)


def test_decoding_sees_what_training_saw(tmp_path: Path) -> None:
    """The acoustic model's own normalising and splicing gives what the frame store gives."""
    feats, out, model = tmp_path / "feats", tmp_path / "frames", tmp_path / "model"
    for folder in (feats, out, model):
        folder.mkdir()
    random = np.random.default_rng(0)
    write_archive(
        feats,
        [(u, u[0], random.normal(9, 4, (n, 3)).astype(np.float32)) for u, n in (("a1", 3000), ("a2", 4), ("b", 9))],
    )
    write_json(feats / "kind.json", {"kind": "fbank", "sample_rates": [8000]})
    make_frames(feats, {"a1": np.zeros(3000, int), "a2": np.arange(4), "b": np.full(9, 2)}, 4, out)
    store = FrameStore.open(out)
    Network(network().net, log_priors(np.array([5, 3, 2, 10])), store.normalisation, store.feature_config).save(model)
    acoustic = DnnAcousticModel.open(model)
    features = acoustic.open_features(feats)
    assert acoustic.num_pdfs == 4 and features.ids == ["a1", "a2", "b"]
    for u in range(3):
        spliced = torch.from_numpy(store.gather(store.rows_of(np.array([u])))).float()
        want = torch.log_softmax(acoustic.network.logits(spliced), dim=1).numpy() - acoustic.network.log_prior
        got = acoustic.log_likelihoods(features[u])
        assert got.dtype == np.float32 and got.shape == want.shape
        np.testing.assert_allclose(got, want, atol=2e-2)  # the store is float16
    write_json(feats / "kind.json", {"kind": "fbank", "sample_rates": [16000]})
    with pytest.raises(ValueError, match=r"sample_rates \[16000\]; the model was trained on \[8000\]"):
        acoustic.open_features(feats)


@pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
)
def test_many_utterances_are_scored_at_once_as_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    network().save(tmp_path)
    alone = DnnAcousticModel.open(tmp_path)
    random = np.random.default_rng(0)
    utterances = [random.normal(size=(n, 3)).astype(np.float32) for n in (7, 0, 1, 40, 0, 12)]
    want = np.concatenate([alone.log_likelihoods(one) for one in utterances if len(one)])
    monkeypatch.setattr(dnn_acoustic_model, "BLOCK_FRAMES", 16)  # blocks that end inside utterances and between them
    acoustic, got = DnnAcousticModel.open(tmp_path, device), np.full_like(want, np.nan)
    assert acoustic.network.net.device.type == device
    acoustic.score(utterances, got)
    np.testing.assert_allclose(got, want, atol=1e-4)
    acoustic.score([utterances[1]], got[:0])
    assert acoustic.log_likelihoods(utterances[1]).shape == (0, 4)
