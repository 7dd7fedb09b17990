"""The network: outputs, gradients, priors, and its folder."""

from pathlib import Path

import numpy as np
import pytest
import torch

from asr_parallel.features.archive import write_archive
from asr_parallel.features.frames import FrameStore
from asr_parallel.features.make_frames import make_frames
from asr_parallel.features.normalisation import Normalisation
from asr_parallel.nnet.acoustic import DnnAcousticModel
from asr_parallel.nnet.network import FeedForward, Network, NetworkSpec, log_priors
from asr_parallel.record.files import write_json

SPEC = NetworkSpec(frame_dim=3, context=5, hidden_layers=2, hidden_dim=8, num_pdfs=4)


def network(activation: str = "sigmoid") -> Network:
    spec = NetworkSpec(3, 5, 2, 8, 4, activation, dropout=0.5)
    prior = log_priors(np.array([5, 3, 2, 10]))
    return Network(FeedForward(spec, seed=1).eval(), prior, Normalisation("fbank", False, (1.0, 0.5, 2.0)))


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_outputs_are_the_layers_written_out(activation: str) -> None:
    net = network(activation).net
    x = torch.randn(6, 33, generator=torch.Generator().manual_seed(0))
    weights = [p.detach().double() for p in net.parameters()]
    h = x.double()
    for k in range(2):
        h = h @ weights[2 * k].T + weights[2 * k + 1]
        h = 1 / (1 + torch.exp(-h)) if activation == "sigmoid" else h.clamp(min=0)
    torch.testing.assert_close(net(x).double(), h @ weights[4].T + weights[5], atol=1e-5, rtol=1e-5)


def test_gradients_agree_with_finite_differences() -> None:
    net = FeedForward(SPEC, seed=3).double()
    x = torch.randn(5, 33, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 2, 3, 1])

    def loss() -> torch.Tensor:
        return torch.nn.functional.cross_entropy(net(x), labels, reduction="sum")

    gradients = torch.autograd.grad(loss(), list(net.parameters()))
    for parameter, gradient in zip(net.parameters(), gradients, strict=True):
        flat, k = parameter.data.view(-1), parameter.numel() // 2
        before = float(flat[k])
        flat[k] = before + 1e-5
        up = loss().item()
        flat[k] = before - 1e-5
        down = loss().item()
        flat[k] = before
        assert (up - down) / 2e-5 == pytest.approx(float(gradient.view(-1)[k]), rel=1e-4, abs=1e-7)


def test_initial_weights_follow_the_seed() -> None:
    first, again, other = (FeedForward(SPEC, seed=s).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["layers.0.weight"], other["layers.0.weight"])
    assert -4 <= first["layers.0.bias"].min() < first["layers.0.bias"].max() <= 0
    assert not first["layers.4.bias"].any()


def test_priors() -> None:
    got = log_priors(np.array([1, 3, 0, 6]))
    np.testing.assert_allclose(got[[0, 1, 3]], np.log([0.1, 0.3, 0.6]), rtol=1e-6)
    assert got[2] == pytest.approx(np.sqrt(np.finfo(np.float32).max))  # never chosen


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_what_was_saved_gives_the_same_outputs(tmp_path: Path, activation: str) -> None:
    made = network(activation)
    made.save(tmp_path)
    again = Network.open(tmp_path)
    x = torch.randn(7, 33)
    assert torch.equal(made.net(x), again.net(x))
    np.testing.assert_array_equal(made.log_prior, again.log_prior)
    assert (made.normalisation, made.net.spec) == (again.normalisation, again.net.spec)


def test_opening_says_what_is_wrong(tmp_path: Path) -> None:
    network().save(tmp_path)
    np.save(tmp_path / "log_prior.npy", np.zeros(3, dtype=np.float32))
    with pytest.raises(ValueError, match="3 priors for 4 pdfs"):
        Network.open(tmp_path)
    (tmp_path / "net.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"net\.safetensors: does not fit net\.json"):
        Network.open(tmp_path)
    (tmp_path / "net.safetensors").unlink()
    with pytest.raises(ValueError, match=r"no net\.safetensors; expected a network made by stage 6"):
        Network.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": "tanh"}, "unknown activation 'tanh'"),
        ({"hidden_dim": 0}, "must be positive"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_bad_specifications(change: dict[str, object], message: str) -> None:
    sizes = {"frame_dim": 3, "context": 5, "hidden_layers": 2, "hidden_dim": 8, "num_pdfs": 4}
    with pytest.raises(ValueError, match=message):
        NetworkSpec(**{**sizes, **change})  # type: ignore[arg-type]


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
    write_json(feats / "kind.json", {"kind": "fbank"})
    make_frames(feats, {"a1": np.zeros(3000, int), "a2": np.arange(4), "b": np.full(9, 2)}, 4, out)
    store = FrameStore.open(out)
    Network(network().net, log_priors(np.array([5, 3, 2, 10])), store.normalisation).save(model)
    acoustic = DnnAcousticModel.open(model)
    features = acoustic.open_features(feats)
    assert acoustic.num_pdfs == 4 and features.ids == ["a1", "a2", "b"]
    for u in range(3):
        spliced = torch.from_numpy(store.gather(store.rows_of(np.array([u])))).float()
        want = torch.log_softmax(acoustic.network.net(spliced), dim=1).detach().numpy() - acoustic.network.log_prior
        got = acoustic.log_likelihoods(features[u])
        assert got.dtype == np.float32 and got.shape == want.shape
        np.testing.assert_allclose(got, want, atol=2e-2)  # the store is float16
