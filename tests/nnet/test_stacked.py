"""Stacked networks: outputs and derivatives against plain torch, replicas against one another, initial parameters."""

import pytest
import torch
from torch import Tensor

from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.choices import NONLINEARITIES
from asr_parallel.nnet.objectives import Soft
from asr_parallel.nnet.spec import ALIGNMENT, NetworkSpec, layout
from asr_parallel.nnet.stacked import Layers, StackedNetwork


def spec(nonlinearity: str, **sizes: int) -> NetworkSpec:
    known = {"frame_dim": 3, "context": 2, "hidden_layers": 2, "hidden_dim": 32, "num_pdfs": 5, "pnorm_group": 3}
    return dnn(**{**known, **sizes}, nonlinearity=nonlinearity)  # type: ignore[arg-type]


def random_network(kind: str, replicas: int, dtype: torch.dtype = torch.float32) -> StackedNetwork:
    network = StackedNetwork(spec(kind), replicas, dtype=dtype)
    network.parameters.normal_(0, 0.5, generator=torch.Generator().manual_seed(7))
    network.parameters_changed()
    return network


def data(replicas: int, frames: int = 6) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(3)
    return torch.randn(replicas, frames, 15, generator=random), torch.randint(
        0, 5, (replicas, frames), generator=random
    )


def reference_logits(kind: str, layers: list[tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
    """The network of one replica, written out."""
    for k, (weight, bias) in enumerate(layers):
        x = x @ weight.T + bias
        if k == len(layers) - 1:
            return x
        if kind == "sigmoid":
            x = 1 / (1 + torch.exp(-x))
        elif kind == "tanh":
            x = torch.tanh(x)
        elif kind.startswith("relu"):
            x = x.clamp(min=0)
        else:
            x = x.view(len(x), -1, 3).square().sum(dim=2).sqrt()
        if kind in ("relu-renorm", "pnorm"):
            x = x / x.square().mean(dim=1, keepdim=True).sqrt()
    raise AssertionError


@pytest.mark.parametrize("kind", NONLINEARITIES)
def test_outputs_and_gradients_are_those_of_the_network_written_out(kind: str) -> None:
    network = random_network(kind, 3)
    x, labels = data(3)
    minibatch = network.backward(x, labels)
    torch.testing.assert_close(network.logits(x), _logits_of_all(kind, network, x), atol=1e-5, rtol=1e-5)
    for r in range(3):
        layers = [
            (w[r].double().requires_grad_(), b[r].double().requires_grad_())
            for w, b in zip(network.layers.weights, network.layers.biases, strict=True)
        ]
        logits = reference_logits(kind, layers, x[r].double())
        loss = torch.nn.functional.cross_entropy(logits, labels[r], reduction="sum")
        loss.backward()
        assert minibatch.loss_sum[r].item() == pytest.approx(loss.item(), rel=1e-5)
        assert minibatch.correct[r] == (logits.argmax(dim=1) == labels[r]).sum()
        for (weight, bias), given, d in zip(layers, minibatch.inputs, minibatch.derivatives, strict=True):
            torch.testing.assert_close((d[r].mT @ given[r]).double(), weight.grad, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(d[r].sum(dim=0).double(), bias.grad, atol=1e-4, rtol=1e-4)


def _logits_of_all(kind: str, network: StackedNetwork, x: Tensor) -> Tensor:
    return torch.stack(
        [
            reference_logits(
                kind, [(w[r], b[r]) for w, b in zip(network.layers.weights, network.layers.biases, strict=True)], x[r]
            )
            for r in range(network.replicas)
        ]
    )


@pytest.mark.parametrize("kind", NONLINEARITIES)
def test_bf16_products_stay_near_float32(kind: str) -> None:
    x, labels = data(2, frames=64)
    exact, rough = random_network(kind, 2), random_network(kind, 2, torch.bfloat16)
    want, got = exact.backward(x, labels), rough.backward(x.bfloat16(), labels)
    assert got.derivatives[0].dtype == torch.bfloat16 and rough.parameters.dtype == torch.float32
    torch.testing.assert_close(got.loss_sum, want.loss_sum, rtol=0.02, atol=0)
    for a, b in zip(got.derivatives, want.derivatives, strict=True):
        assert (a.float() - b).norm() < 0.15 * b.norm()  # a ReLU near zero may fall on the other side


@pytest.mark.parametrize("kind", ["relu-renorm", "pnorm", "relu"])
def test_a_frame_whose_units_are_all_zero_passes_without_nan(kind: str) -> None:
    network = random_network(kind, 1)
    for weight, bias in zip(network.layers.weights, network.layers.biases, strict=True):
        weight.zero_()
        bias.fill_(-1.0 if kind.startswith("relu") else 0.0)
    minibatch = network.backward(*data(1))
    assert all(d.isfinite().all() for d in minibatch.derivatives)
    assert network.logits(data(1)[0]).isfinite().all()


def test_layers_are_aligned_views_of_the_buffer() -> None:
    network = random_network("tanh", 2)
    places = layout(network.spec)
    assert [(p.out, p.into) for p in places] == [(32, 15), (32, 32), (5, 32)]
    assert all(p.start % ALIGNMENT == 0 for p in places)
    network.layers.weights[1][1, 3, 2] = 42.0
    assert network.parameters[1, places[1].start + 3 * 32 + 2] == 42.0
    network.layers.biases[2][0, 4] = 43.0
    assert network.parameters[0, places[2].bias_start + 4] == 43.0
    one = network.replica(1)
    one.parameters.zero_()
    assert not network.parameters[1].any() and network.parameters[0].any()


@pytest.mark.parametrize("kind", NONLINEARITIES)
def test_initial_parameters_follow_the_seed_and_are_alike_in_all_replicas(kind: str) -> None:
    first, again, other = (StackedNetwork(spec(kind), 2).initialise(s).parameters for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(first[0], first[1])


def test_initial_deviations_are_kaldis() -> None:
    def layers(kind: str) -> Layers:
        return StackedNetwork(spec(kind, frame_dim=40, context=5, hidden_dim=400, num_pdfs=300)).initialise(1).layers

    def deviations(tensors: list[Tensor]) -> list[float]:
        return [t.std().item() for t in tensors]

    of = layers("sigmoid")
    scales = [0.1 * 35 * (2 / n) ** 0.5 for n in (840, 800, 700)]
    assert deviations(of.weights) == pytest.approx([scales[0] / 12**0.5, *scales[1:]], rel=0.02)
    assert -4 <= of.biases[0].min() < -3.9 and -0.1 < of.biases[0].max() <= 0 and not of.biases[2].any()
    for kind, bias in (("relu-renorm", 1.0), ("tanh", 0.5), ("pnorm", 0.5)):
        of = layers(kind)
        assert deviations(of.weights) == pytest.approx([440**-0.5, 400**-0.5, 0.0], rel=0.02)
        assert deviations(of.biases) == pytest.approx([bias, bias, 0.0], rel=0.15)
    of = layers("relu")
    assert deviations(of.weights) == pytest.approx(
        [(2 / 440) ** 0.5, (2 / 400) ** 0.5, 0.1 * (2 / 400) ** 0.5], rel=0.02
    )
    assert not any(b.any() for b in of.biases)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nonlinearity": "swish"}, "unknown nonlinearity 'swish'"),
        ({"hidden_dim": 0}, "hidden_dim 0: expected a whole number of at least 1"),
        ({"pnorm_group": 0}, "pnorm_group 0: expected a whole number of at least 1"),
        ({"context": -1}, "context -1: expected at least 0"),
        ({"frame_dim": 0}, "frame_dim 0: expected a positive number"),
        ({"num_pdfs": 0}, "dim 0: expected a positive number"),
    ],
)
def test_bad_specifications(change: dict[str, object], message: str) -> None:
    sizes = {"frame_dim": 3, "context": 5, "hidden_layers": 2, "hidden_dim": 8, "num_pdfs": 4}
    with pytest.raises(ValueError, match=message):
        dnn(**{**sizes, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("common", [False, True])
def test_soft_targets_add_the_gradient_of_their_cross_entropy(temperature: float, common: bool) -> None:
    """CE(labels) + lambda T^2 CE(targets; logits / T), by autograd in float64; the reported loss is of the labels."""
    network, weight = random_network("sigmoid", 3), 0.7
    x, labels = data(3)
    random = torch.Generator().manual_seed(5)
    target = torch.softmax(2 * torch.randn(1 if common else 3, 6, 5, generator=random), dim=-1)
    plain = network.backward(x, labels)
    loss, correct = plain.loss_sum.clone(), plain.correct.clone()
    minibatch = network.backward(x, labels, Soft(target, weight, temperature))
    assert torch.equal(minibatch.loss_sum, loss) and torch.equal(minibatch.correct, correct)
    for r in range(3):
        layers = [
            (w[r].double().requires_grad_(), b[r].double().requires_grad_())
            for w, b in zip(network.layers.weights, network.layers.biases, strict=True)
        ]
        logits = reference_logits("sigmoid", layers, x[r].double())
        of_labels = torch.nn.functional.cross_entropy(logits, labels[r], reduction="sum")
        cooled = torch.log_softmax(logits / temperature, dim=-1)
        of_targets = -(target[0 if common else r].double() * cooled).sum()
        (of_labels + weight * temperature**2 * of_targets).backward()
        for k, (w, b) in enumerate(layers):
            d, given = minibatch.derivatives[k][r], minibatch.inputs[k][r]
            torch.testing.assert_close(d.T @ given, w.grad.float(), atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(d.sum(dim=0), b.grad.float(), atol=1e-5, rtol=1e-4)


def test_soft_targets_of_no_weight_change_no_bit() -> None:
    network = random_network("relu-renorm", 2)
    x, labels = data(2)
    plain = [d.clone() for d in network.backward(x, labels).derivatives]
    target = torch.softmax(torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(5)), dim=-1)
    for temperature in (1.0, 3.0):
        soft = network.backward(x, labels, Soft(target, 0.0, temperature)).derivatives
        assert all(torch.equal(a, b) for a, b in zip(plain, soft, strict=True))
