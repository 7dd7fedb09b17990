"""The time-delay network: gradients, stacking, natural gradient's rows, decoding, its folder, training by the verb."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from asr_parallel.cli.main import main
from asr_parallel.features.archive import write_archive
from asr_parallel.features.frame_writer import FrameOptions, make_frames
from asr_parallel.features.frames import FrameStore
from asr_parallel.features.normalisation import Normalisation
from asr_parallel.nnet.architectures import make_network
from asr_parallel.nnet.architectures.tdnn import TdnnOptions
from asr_parallel.nnet.choices import NONLINEARITIES
from asr_parallel.nnet.dnn_acoustic_model import DnnAcousticModel
from asr_parallel.nnet.max_change import MaxChange
from asr_parallel.nnet.network import Network, log_priors
from asr_parallel.nnet.optimizers import optimizer
from asr_parallel.nnet.spec import NetworkSpec
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.record.files import write_json

DIM, PDFS = 3, 5
OFFSETS = [(-2, -1, 0, 1, 2), (-1, 2), (-3, 3), (-7, 2), (0,)]  # Kaldi's, 13 frames before and 9 after


def tdnn(nonlinearity: str = "relu-renorm", context: int = 13, hidden_dim: int = 12, **more: str) -> NetworkSpec:
    options = {"hidden_dim": hidden_dim, "nonlinearity": nonlinearity, "pnorm_group": 3, **more}
    return make_network("tdnn", options, DIM, context, PDFS)


def random_network(spec: NetworkSpec, replicas: int, dtype: torch.dtype = torch.float32) -> StackedNetwork:
    network = StackedNetwork(spec, replicas, dtype=dtype)
    network.parameters.normal_(0, 0.4, generator=torch.Generator().manual_seed(7))
    network.parameters_changed()
    return network


def data(spec: NetworkSpec, replicas: int, frames: int = 6) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(3)
    x = torch.randn(replicas, frames, spec.input_dim, generator=random)
    return x, torch.randint(0, PDFS, (replicas, frames), generator=random)


def reference_logits(kind: str, context: int, layers: list[tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
    """The network of one replica, written out: a layer at a point in time from the layer below at others."""
    frames = x.view(len(x), -1, DIM)

    @cache
    def hidden(layer: int, t: int) -> Tensor:
        if layer == 0:
            return frames[:, t + context]
        weight, bias = layers[layer - 1]
        y = torch.cat([hidden(layer - 1, t + offset) for offset in OFFSETS[layer - 1]], dim=1) @ weight.T + bias
        if kind == "pnorm":
            y = y.view(len(y), -1, 3).square().sum(dim=2).sqrt()
        elif kind == "sigmoid":
            y = 1 / (1 + torch.exp(-y))
        else:
            y = torch.tanh(y) if kind == "tanh" else y.clamp(min=0)
        return y / y.square().mean(dim=1, keepdim=True).sqrt() if kind in ("relu-renorm", "pnorm") else y

    weight, bias = layers[-1]
    return hidden(len(OFFSETS), 0) @ weight.T + bias


@pytest.mark.parametrize("context", [13, 14])
@pytest.mark.parametrize("kind", NONLINEARITIES)
def test_outputs_and_gradients_are_those_of_the_network_written_out(kind: str, context: int) -> None:
    spec = tdnn(kind, context)
    assert (spec.left_context, spec.right_context, spec.hidden_layers) == (13, 9, 5)
    assert str(spec).startswith(f"3 x {2 * context + 1} inputs: splice -2,-1,0,1,2, affine ")
    assert spec.affine_points == [7, 4, 2, 1, 1, 1]  # two of eight points are the same one
    network = random_network(spec, 2)
    x, labels = data(spec, 2)
    minibatch = network.backward(x, labels)
    for r in range(2):
        layers = [
            (w[r].double().requires_grad_(), b[r].double().requires_grad_())
            for w, b in zip(network.layers.weights, network.layers.biases, strict=True)
        ]
        logits = reference_logits(kind, context, layers, x[r].double())
        torch.testing.assert_close(network.logits(x)[r].double(), logits, atol=1e-5, rtol=1e-5)
        loss = torch.nn.functional.cross_entropy(logits, labels[r], reduction="sum")
        loss.backward()
        assert minibatch.loss_sum[r].item() == pytest.approx(loss.item(), rel=1e-5)
        for (weight, bias), given, d in zip(layers, minibatch.inputs, minibatch.derivatives, strict=True):
            torch.testing.assert_close((d[r].mT @ given[r]).double(), weight.grad, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(d[r].sum(dim=0).double(), bias.grad, atol=1e-4, rtol=1e-4)


def test_bf16_products_stay_near_float32() -> None:
    spec = tdnn("tanh")
    x, labels = data(spec, 2, frames=64)
    want = random_network(spec, 2).backward(x, labels)
    got = random_network(spec, 2, torch.bfloat16).backward(x.bfloat16(), labels)
    torch.testing.assert_close(got.loss_sum, want.loss_sum, rtol=0.02, atol=0)
    for a, b in zip(got.derivatives, want.derivatives, strict=True):
        assert a.dtype == torch.bfloat16 and (a.float() - b).norm() < 0.15 * b.norm()


def test_stacked_replicas_train_as_each_would_alone() -> None:
    spec = tdnn()
    together = optimizer("ng-sgd", random_network(spec, 3), MaxChange(), 0.0)
    alone = []
    for r in range(3):
        network = StackedNetwork(spec)
        network.take(together.network.parameters[r])
        alone.append(optimizer("ng-sgd", network, MaxChange(), 0.0))
    x, labels = data(spec, 3, frames=32)
    for _ in range(3):
        together.step(together.network.backward(x.clone(), labels), 0.001)
        for r, of in enumerate(alone):
            of.step(of.network.backward(x[r : r + 1].clone(), labels[r : r + 1]), 0.001)
    for r, of in enumerate(alone):
        torch.testing.assert_close(together.network.parameters[r], of.network.parameters[0], atol=1e-6, rtol=1e-5)


def test_a_minibatch_may_be_empty() -> None:
    spec = tdnn()
    x, labels = data(spec, 1, frames=0)
    back = random_network(spec, 1).backward(x, labels)
    assert back.loss_sum.item() == 0 and [len(d[0]) for d in back.derivatives] == [0] * 6


def test_rows_of_natural_gradient_are_frames_times_points_in_time() -> None:
    """A sum over the frames of all processes, of which there is one, changes nothing."""
    spec = tdnn()
    x, labels = data(spec, 1, frames=32)
    trained = []
    for add in (None, lambda tensor: None):
        network = random_network(spec, 1)
        of = optimizer("ng-sgd", network, MaxChange(), 0.0, add)
        for _ in range(3):
            of.step(network.backward(x.clone(), labels), 0.001, None, 32)
        trained.append(network.parameters.clone())
    assert torch.equal(*trained)


def test_decoding_an_utterance_gives_what_its_windows_give(tmp_path: Path) -> None:
    feats, out, model = tmp_path / "feats", tmp_path / "frames", tmp_path / "model"
    for folder in (feats, out, model):
        folder.mkdir()
    random = np.random.default_rng(0)
    lengths = {"a1": 2100, "a2": 4, "b": 9}
    write_archive(feats, [(u, u[0], random.normal(9, 4, (n, DIM)).astype(np.float32)) for u, n in lengths.items()])
    write_json(feats / "kind.json", {"kind": "fbank"})
    make_frames(feats, {u: np.zeros(n, int) for u, n in lengths.items()}, PDFS, out, FrameOptions(context=13))
    store = FrameStore.open(out)
    assert store.context == 13
    net = random_network(tdnn(context=store.context), 1)
    Network(net, log_priors(np.full(PDFS, 7)), store.normalisation, store.feature_config).save(model)
    acoustic = DnnAcousticModel.open(model)
    features = acoustic.open_features(feats)
    for u in range(3):
        spliced = torch.from_numpy(store.gather(store.rows_of(np.array([u])))).float()
        want = torch.log_softmax(acoustic.network.logits(spliced), dim=1).numpy() - acoustic.network.log_prior
        got = acoustic.log_likelihoods(features[u])
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, atol=2e-2)  # the store is float16
        padded = np.pad(features[u], ((13, 13), (0, 0)), mode="edge").astype(np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(padded, 27, axis=0).transpose(0, 2, 1)
        each = acoustic.network.logits(torch.from_numpy(windows.reshape(len(windows), -1).copy()))
        exact = torch.log_softmax(each, dim=1).numpy() - acoustic.network.log_prior
        np.testing.assert_allclose(got, exact, atol=1e-4)


def test_its_folder_describes_the_components(tmp_path: Path) -> None:
    spec = tdnn("pnorm")
    Network(random_network(spec, 1), log_priors(np.full(PDFS, 7)), Normalisation("fbank", False, (1.0,) * DIM)).save(
        tmp_path
    )
    again = Network.open(tmp_path)
    assert again.spec == spec and spec != tdnn("tanh")
    same = random_network(spec, 1).layers
    assert all(torch.equal(a, b) for a, b in zip(again.net.layers.weights, same.weights, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(again.net.layers.biases, same.biases, strict=True))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"context": 12},
            r"context 12: the network sees 13 frames before and 9 after; expected a frame store",
        ),
        ({"splice_indexes": "-1,x"}, "splice_indexes '-1,x': expected whole numbers"),
        ({"splice_indexes": " "}, "splice_indexes ' ': expected whole numbers"),
        ({"splice_indexes": "1,-1"}, "expected different offsets in ascending order"),
        ({"hidden_dim": 0}, "hidden_dim 0: expected a whole number of at least 1"),
        ({"nonlinearity": "swish"}, "unknown nonlinearity 'swish'"),
    ],
)
def test_bad_options_are_one_line(more: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tdnn(**more)  # type: ignore[arg-type]


def test_kaldis_offsets_are_the_default() -> None:
    assert TdnnOptions().offsets() == OFFSETS


SMALL = "--architecture tdnn --hidden-dim 16 --minibatch 16 --epochs 2 --workers 4 --threads 1 --precision float32"


def test_four_workers_train_one_in_one_and_in_two_processes(frames_folder: Path, tmp_path: Path) -> None:
    found = []
    for processes in ("1", "2"):
        out = tmp_path / processes
        words = [*SMALL.split(), "--splice-indexes", "-2,-1,0 -1,2 0", "--period", "3", "--processes", processes]
        assert main(["train-dnn", "--frames", str(frames_folder), "--out", str(out), *words]) == 0
        found.append(load_file(out / "net.safetensors"))
    assert found[0]["affine1.weight"].shape == (16, 32)
    for name, tensor in found[0].items():
        torch.testing.assert_close(tensor, found[1][name], atol=1e-3, rtol=1e-3)  # sums of another order
    lines = [json.loads(line) for line in (tmp_path / "1" / "train.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["kind"] == "held-out"]
    assert losses[-1] < 0.95 < np.log(3)


def test_the_verb_refuses_a_store_of_too_little_context(
    frames_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train-dnn", "--frames", str(frames_folder), "--out", str(tmp_path / "net"), *SMALL.split()]) == 1
    assert "expected a frame store of context 13 (make-frames --context)" in capsys.readouterr().err.splitlines()[-1]
    words = ["--frames", str(frames_folder), "--out", str(tmp_path / "net"), "--splice-indexes", "-1,0 0"]
    assert main(["train-dnn", *words]) == 1
    assert (
        "splice_indexes '-1,0 0' is of no use to architecture dnn, only to tdnn"
        in capsys.readouterr().err.splitlines()[-1]
    )
