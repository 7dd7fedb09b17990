"""The compiled passes of a training step against their plain versions in torch, and what a step costs in operations."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from asr_parallel.nnet import brgemm, kernels
from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.bfloat16 import bits
from asr_parallel.nnet.blas import FAST_TYPES, HAS_EIGH
from asr_parallel.nnet.components import SQUARED_FLOOR, TARGET_RMS, Binding, Relu, Renorm
from asr_parallel.nnet.fisher import FisherEstimate
from asr_parallel.nnet.max_change import MaxChange
from asr_parallel.nnet.objectives import CrossEntropy, Soft
from asr_parallel.nnet.optimizers import optimizer
from asr_parallel.nnet.stacked import StackedNetwork, new_memory

DTYPES = [torch.float32, torch.bfloat16]
SHAPES = [(1, 1, 1), (2, 5, 7), (3, 4, 40), (1, 33, 129)]
OWN = Binding({}, None, new_memory, training=True)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def assert_rounded(got: Tensor, want: Tensor, places: float = 1) -> None:
    """Check numbers of a type against float32 or float64 ones, to so many times the type's relative precision."""
    rtol = places * torch.finfo(got.dtype).eps
    torch.testing.assert_close(got.double(), want.double(), rtol=rtol, atol=rtol, equal_nan=True)


def test_bfloat16_is_rounded_as_torch_rounds_it() -> None:
    words = np.arange(0, 1 << 32, 65521, dtype=np.uint64).astype(np.uint32)
    ties = np.array([0x3F808000, 0x3F818000, 0x3F807FFF, 0x3F808001, 0x7F7FFFFF, 0x80000000], dtype=np.uint32)
    x = torch.from_numpy(np.concatenate([words, ties]).view(np.float32).copy())
    zero, rounded = torch.zeros_like(x), torch.empty_like(x, dtype=torch.bfloat16)
    kernels.descend_and_round(x.clone().numpy(), zero.numpy(), np.float32(0), bits(rounded))
    want = x.to(torch.bfloat16)
    assert torch.equal(rounded.isnan(), want.isnan())
    assert torch.equal(rounded[~want.isnan()].view(torch.int16), want[~want.isnan()].view(torch.int16))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("renorm", [False, True])
def test_bias_relu_and_renormalisation(dtype: torch.dtype, shape: tuple[int, ...], renorm: bool) -> None:
    x, bias = random(*shape, dtype=dtype), random(shape[0], shape[2], seed=1, dtype=dtype)
    x[0, 0] = -100.0  # a row that the ReLU makes zero
    given, scale = random(*shape, seed=2, dtype=dtype), torch.empty(shape[:2])
    relu = (x.float() + bias.float().unsqueeze(1)).relu()
    y, d = x.clone(), given.clone()
    if renorm:
        floor = np.float32(SQUARED_FLOOR)
        kernels.bias_relu_renorm(bits(y), bits(bias), scale.numpy(), np.float32(TARGET_RMS), floor)
        want, saved = Renorm().forward(relu.to(dtype).float(), OWN)
        assert_rounded(y, want, places=2)
        torch.testing.assert_close(scale.unsqueeze(2), saved[1], rtol=1e-2, atol=0)
        kernels.relu_renorm_backward(bits(d), bits(y), scale.numpy(), np.float32(TARGET_RMS))
        back = Renorm().backward(given.double(), (y.double(), scale.double().unsqueeze(2)), OWN)
        back = Relu().backward(back, (y.double(),), OWN)
        # of differences of products: by the size of the greatest
        assert float((d.double() - back).abs().max()) <= 2 * torch.finfo(dtype).eps * float(back.abs().max())
    else:
        kernels.bias_relu(bits(y), bits(bias))
        assert_rounded(y, relu)
        kernels.relu_backward(bits(d), bits(y))
        assert torch.equal(d, Relu().backward(given.clone(), (y,), OWN))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_softmax_and_its_cross_entropy(dtype: torch.dtype, spread: float) -> None:
    logits, labels = (random(3, 9, 41) * spread).to(dtype), torch.arange(27).view(3, 9)
    plain = CrossEntropy(labels).plain(logits.double().float())
    exact = torch.log_softmax(logits.double(), -1)
    own = CrossEntropy(labels)(logits.clone())
    torch.testing.assert_close(own.loss_sum, plain.loss_sum, rtol=1e-6, atol=1e-6)
    assert torch.equal(own.correct, plain.correct)
    want = exact.exp().scatter_add(-1, labels.unsqueeze(-1), -torch.ones(3, 9, 1, dtype=torch.float64))
    assert_rounded(own.derivative, want, places=4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_soft_targets_beside_the_labels(dtype: torch.dtype, temperature: float) -> None:
    logits, labels = random(2, 9, 41, dtype=dtype), torch.arange(18).view(2, 9)
    soft = Soft(torch.softmax(random(1, 9, 41, seed=1), dim=-1), 0.6, temperature)
    own, plain = CrossEntropy(labels, soft)(logits), CrossEntropy(labels, soft).plain(logits)
    torch.testing.assert_close(own.derivative, plain.derivative, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(own.loss_sum, plain.loss_sum)


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_that_are_not_finite_stay_so(dtype: torch.dtype) -> None:
    for poison in (float("nan"), float("inf")):
        logits = random(2, 3, 20, dtype=dtype)
        logits[1, 2, 5] = poison
        loss = CrossEntropy(torch.zeros(2, 3, dtype=torch.int64))(logits)
        assert loss.loss_sum[0].isfinite() and not loss.loss_sum[1].isfinite()
        assert loss.derivative[0].isfinite().all() and not loss.derivative[1].isfinite().all()
    x = random(1, 2, 20, dtype=dtype)
    x[0, 1, 3] = float("nan")
    kernels.bias_relu(bits(x), np.zeros((1, 20), dtype=bits(x).dtype))
    assert x[0, 0].isfinite().all() and x[0, 1, 3].isnan()


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_over_rows_and_steps_against_a_gradient(dtype: torch.dtype) -> None:
    x, weights, sums = random(3, 50, 21, dtype=dtype), random(3, 50, 1, seed=1), torch.empty(3, 21)
    kernels.column_sums(bits(x), weights.numpy(), sums.numpy())
    torch.testing.assert_close(sums, (weights.mT @ x.float()).squeeze(1), rtol=1e-5, atol=1e-5)
    H, along, left = random(2, 30, 20, dtype=dtype), random(2, 1, 20, seed=1, dtype=dtype), torch.empty(2, 30, 1)
    kernels.ones_left(bits(H), bits(along), left.numpy())
    torch.testing.assert_close(left, 1 - H.float() @ along.float().mT, rtol=1e-5, atol=1e-5)
    parameters, change, rounded = random(100), random(100, seed=1), torch.empty(100, dtype=dtype)
    moved = parameters.clone()
    kernels.descend(moved.numpy(), change.numpy(), np.float32(0.3))
    torch.testing.assert_close(moved, parameters - 0.3 * change)
    again = parameters.clone()
    kernels.descend_and_round(again.numpy(), change.numpy(), np.float32(0.3), bits(rounded))
    assert torch.equal(again, moved) and torch.equal(rounded, moved.to(dtype))


@pytest.mark.skipif(not HAS_EIGH, reason="no compiled eigenvalues here")
@pytest.mark.parametrize("rank", [1, 6, 15])
@pytest.mark.parametrize("with_one", [False, True])
def test_updates_of_the_fisher_estimate(with_one: bool, rank: int) -> None:
    replicas, dim = 4, 31
    of = [FisherEstimate(replicas, dim, rank, 2000.0, 4.0, 1e-10, 5e-4, with_one, "cpu") for _ in range(2)]
    compiled, plain = of
    for seed in range(8):
        x = random(replicas, 40, dim - with_one, seed=seed) * torch.linspace(3, 0.1, dim - with_one)
        x[3, 2:] = 0  # two rows: most directions are noise
        x[2, 0, 0] = torch.inf if seed == 5 else x[2, 0, 0]
        squares = x.square().sum((1, 2)) + 40 * with_one
        J = [torch.empty_like(one.W) for one in of]
        for one, its in zip(of, J, strict=True):
            one.correlate(x, one.project(x, slice(0, replicas)), out=its)
        assert compiled.update(J[0], squares, 40)
        update = plain.toward(J[1], squares, 40)
        plain.adopt(update, *torch.linalg.eigh(update.Z))
        known = [(one.W.mT @ one.W, one.rho, one.d) for one in of]  # directions have no sign
        assert all(tensor.isfinite().all() for tensor in known[0])
        torch.testing.assert_close(*known, rtol=1e-5, atol=1e-6)


class Operations(TorchDispatchMode):
    """Counts calls of torch's operators, but for those that only look at memory in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not any(one.alias_info is not None and not one.alias_info.is_write for one in func._schema.returns):
            self.calls[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "steps", "most", "allocations", "without_blas"),
    [("sgd", 13, 62, 6, (62, 6)), ("ng-sgd", 13, 76, 6, (102, 10)), ("ng-sgd", 10, 90, 14, (210, 50))],
)
def test_a_step_takes_few_operations(
    name: str, steps: int, most: int, allocations: int, without_blas: tuple[int, int], dtype: torch.dtype
) -> None:
    """Time cannot be tested; operations, each of which costs microseconds, can. The last case updates Fisher estimates.

    11 of the operations with three hidden layers are the network's products, 7 where those of the gradient are
    compiled, and 16 natural gradient's where compiled functions have no BLAS to call; bfloat16 then adds conversions.
    """
    if dtype not in FAST_TYPES and not (dtype == torch.bfloat16 and brgemm.AVAILABLE):
        most, allocations = without_blas
    network = StackedNetwork(dnn(8, 2, 3, 32, 11, "relu-renorm"), 1, "cpu", dtype).initialise(1)
    optimiser = optimizer(name, network, MaxChange(), 0.9)
    x, labels = random(1, 16, 40, dtype=dtype), torch.arange(16).view(1, 16) % 11
    for _ in range(steps):
        optimiser.step(network.backward(x, labels), 1e-3)
    with Operations() as counted:
        optimiser.step(network.backward(x, labels), 1e-3)
    calls = counted.calls
    assert calls.total() <= most, calls.most_common(12)
    assert sum(n for kind, n in calls.items() if kind in ("empty", "empty_like", "new_empty", "clone")) <= allocations
