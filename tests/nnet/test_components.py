"""Lists of components: what a new one needs, constraints and buffers, objectives, and a network's description."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from asr_parallel.features.normalisation import Normalisation
from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.choices import OPTIMIZERS
from asr_parallel.nnet.components import Affine, Binding, Component, Relu, Renorm, Saved, Shapes, Splice
from asr_parallel.nnet.max_change import MaxChange
from asr_parallel.nnet.network import Network, log_priors
from asr_parallel.nnet.objectives import CrossEntropy, Loss
from asr_parallel.nnet.optimizers import optimizer
from asr_parallel.nnet.spec import NetworkSpec
from asr_parallel.nnet.stacked import StackedNetwork


@dataclass(frozen=True)
class Centre(Component, kind="test-centre"):
    """y = x less a running mean of earlier minibatches; its weights' buffer stays of length 1."""

    momentum: float = 0.5

    def buffers(self, input_dim: int) -> Shapes:
        return {"mean": (input_dim,), "unit": (2,)}

    def forward(self, x: Tensor, own: Binding) -> tuple[Tensor, Saved]:
        y = x - own.tensors["mean"].unsqueeze(1).to(x.dtype)
        if own.training:
            own.tensors["mean"].lerp_(x.float().mean(dim=1), 1 - self.momentum)
        return y, ()

    def backward(self, derivative: Tensor, saved: Saved, own: Binding) -> Tensor:
        return derivative

    def constrain(self, tensors: Mapping[str, Tensor]) -> None:
        tensors["unit"].fill_(0.5**0.5)


SPEC = NetworkSpec(2, 1, (Splice((-1, 0, 1)), Affine(7, 0.5), Centre(), Relu(), Renorm(), Affine(3, 0.5)))


def data(replicas: int = 2) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(3)
    return torch.randn(replicas, 8, 6, generator=random), torch.randint(0, 3, (replicas, 8), generator=random)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_buffers_follow_the_data_and_constraints_hold_whatever_the_optimizer(name: str, dtype: torch.dtype) -> None:
    network = StackedNetwork(SPEC, 2, dtype=dtype).initialise(1)
    buffers = SPEC.placed_components[2].views(network.parameters)
    x, labels = data()
    z = (network.layers.weights[0] @ x.mT).mT.mean(dim=1)
    network.logits(x.to(dtype))
    assert not buffers["mean"].any()
    optimizer(name, network, MaxChange(), 0.9).step(network.backward(x.to(dtype), labels), 0.001)
    torch.testing.assert_close(buffers["mean"], z / 2, atol=0.02 if dtype == torch.bfloat16 else 1e-6, rtol=0.02)
    assert torch.equal(buffers["unit"], torch.full((2, 2), 0.5**0.5))


def test_buffers_are_in_the_folder(tmp_path: Path) -> None:
    network = StackedNetwork(SPEC).initialise(1)
    SPEC.placed_components[2].views(network.parameters)["mean"].fill_(0.25)
    Network(network, log_priors(np.ones(3)), Normalisation("fbank", False, (1.0, 1.0))).save(tmp_path)
    again = Network.open(tmp_path)
    assert again.spec == SPEC and torch.equal(again.net.parameters, network.parameters)
    assert set(again.tensors()) >= {"affine0.weight", "affine1.bias", "test-centre0.mean"}


def test_another_objective_needs_no_other_network() -> None:
    def squares(logits: Tensor) -> Loss:
        return Loss(2 * logits, logits.square().sum(dim=(1, 2)), torch.zeros(len(logits), dtype=torch.int64))

    network = StackedNetwork(dnn(2, 1, 1, 7, 3, "tanh"), 2).initialise(1)
    x, labels = data()
    weight = network.layers.weights[1][0].double().requires_grad_()
    got = network.differentiate(x, squares)
    hidden = got.inputs[1][0].double()
    (hidden @ weight.T + network.layers.biases[1][0]).square().sum().backward()
    torch.testing.assert_close((got.derivatives[1][0].T @ got.inputs[1][0]).double(), weight.grad, atol=1e-4, rtol=1e-4)
    plain, same = network.backward(x, labels), network.differentiate(x, CrossEntropy(labels))
    assert torch.equal(plain.loss_sum, same.loss_sum)


def test_longer_windows_have_more_outputs() -> None:
    network = StackedNetwork(SPEC).initialise(1)
    frames = torch.randn(1, 9, 2, generator=torch.Generator().manual_seed(1))
    windows = torch.stack([frames[:, k : k + 3].flatten(1) for k in range(7)], dim=1)
    torch.testing.assert_close(network.logits(frames.view(1, 1, -1)), network.logits(windows))


@pytest.mark.parametrize(
    ("components", "message"),
    [
        ((Affine(3),), "expected a splice as the first and an affine one as the last"),
        ((Splice((0,)), Relu()), "expected a splice as the first and an affine one as the last"),
        ((Splice((0,)), Affine(4), Renorm(), Relu(), Affine(3)), "component relu after renorm"),
        ((Splice((-2, 0)), Affine(3)), "context 1: the network sees 2 frames before and 0 after"),
    ],
)
def test_lists_that_are_no_network(components: tuple[Component, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkSpec(2, 1, components)


def test_a_folder_of_version_0_4_is_read_and_damage_is_one_line(tmp_path: Path) -> None:
    spec = dnn(2, 1, 1, 7, 3, "tanh")
    network = Network(
        StackedNetwork(spec).initialise(1), log_priors(np.ones(3)), Normalisation("fbank", False, (1.0, 1.0))
    )
    network.save(tmp_path)
    path = tmp_path / "net.json"
    described = json.loads(path.read_text())
    old = {
        "frame_dim": 2, "context": 1, "hidden_layers": 1, "hidden_dim": 7, "num_pdfs": 3, "nonlinearity": "tanh",
        "pnorm_group": 10,
    }  # fmt: skip
    path.write_text(json.dumps({name: value for name, value in described.items() if name != "network"} | {"spec": old}))
    assert Network.open(tmp_path).spec == spec
    described["network"]["components"][1]["component"] = "swish"
    path.write_text(json.dumps(described))
    with pytest.raises(ValueError, match=r"net\.json: components\[1\]: component 'swish'; expected one of affine,"):
        Network.open(tmp_path)
    described["network"]["components"][1] = {"component": "affine", "dim": "7"}
    path.write_text(json.dumps(described))
    with pytest.raises(ValueError, match=r"net\.json: components\[1\]\.dim: Expected `int`, got `str`"):
        Network.open(tmp_path)
