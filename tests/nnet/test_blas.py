"""Products in compiled functions, against torch's; natural gradient by them and without them."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from asr_parallel.nnet import brgemm, fisher
from asr_parallel.nnet import optimizer as optimizer_module
from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.bfloat16 import bits
from asr_parallel.nnet.blas import FAST_TYPES, HAS_EIGH, eigh, eigh_work, multiply
from asr_parallel.nnet.fisher import FisherEstimate
from asr_parallel.nnet.max_change import MaxChange
from asr_parallel.nnet.optimizers import optimizer
from asr_parallel.nnet.stacked import StackedNetwork

DTYPES = [
    pytest.param(one, marks=pytest.mark.skipif(one not in FAST_TYPES, reason=f"no fast products of {one} here"))
    for one in (torch.float32, torch.bfloat16, torch.float64)
]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n, k, m", [(5, 7, 3), (64, 33, 20), (1, 7, 3), (5, 1, 3), (5, 7, 1), (1, 1, 1), (4, 0, 3)])
def test_a_product_is_torchs(n: int, k: int, m: int, dtype: torch.dtype) -> None:
    for a_turned, b_turned in itertools.product((False, True), repeat=2):
        a, b = random(n, k).to(dtype), random(k, m, seed=1).to(dtype)
        wide_dtype = torch.promote_types(dtype, torch.float32)
        want = a.to(wide_dtype) @ b.to(wide_dtype)
        of_a = bits(a.T.contiguous()).T if a_turned else bits(a)
        of_b = bits(b.T.contiguous()).T if b_turned else bits(b)
        wide = np.full((n, m + 2), 7, dtype=want.numpy().dtype)
        multiply(of_a, of_b, wide[:, :m])
        np.testing.assert_allclose(wide[:, :m], want, rtol=1e-5, atol=1e-5)
        assert (wide[:, m:] == 7).all()


@pytest.mark.skipif(not HAS_EIGH, reason="no compiled eigenvalues here")
@pytest.mark.parametrize("n", [1, 2, 7, 80])
def test_eigenvalues_are_torchs(n: int) -> None:
    Y = random(n, 3 * n).double()
    want, Z = torch.linalg.eigvalsh(Y @ Y.T), (Y @ Y.T).tril().numpy()
    c = np.empty(n)
    assert eigh(Z, c, np.empty(eigh_work(n)))
    np.testing.assert_allclose(c, want, rtol=1e-10)
    np.testing.assert_allclose(Z @ (Y @ Y.T).numpy() @ Z.T, np.diag(c), atol=1e-10 * c[-1])


@pytest.mark.skipif(not brgemm.AVAILABLE, reason="no products of pairs here")
@pytest.mark.parametrize(
    "n, k, m", [(5, 7, 3), (64, 33, 20), (1, 7, 3), (5, 1, 3), (5, 7, 1), (1, 1, 1), (64, 440, 80)]
)
def test_a_product_of_pairs_is_torchs(n: int, k: int, m: int) -> None:
    a, b = random(n, k).bfloat16(), random(k, m, seed=1).bfloat16()
    pairs = np.full(((k + 1) // 2, m, 2), 7, dtype=np.uint16)
    brgemm.in_pairs(bits(b), pairs)
    wide = np.full((n, m + 2), 7, dtype=np.float32)
    for turn in (1, 2):  # the second is added
        brgemm.multiply_pairs(bits(a), pairs, wide[:, :m], turn == 2)
        np.testing.assert_allclose(wide[:, :m], turn * (a.float() @ b.float()), rtol=1e-5, atol=1e-4)
    assert (wide[:, m:] == 7).all()


@pytest.mark.parametrize("limits", [{}, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, {"ONEDNN_MAX_CPU_ISA": "AVX2"}])
@pytest.mark.parametrize("switched", ["on", "off"])
def test_it_preconditions_whatever_onednn_may_use(limits: dict[str, str], switched: str) -> None:
    """Torch throws where a kernel cannot be made, and an exception through compiled code ends the process."""
    code = f"""
import torch
from asr_parallel.nnet.natural_gradient import OnlineNaturalGradient
torch.backends.mkldnn.enabled = {switched == "on"}
y, scale = OnlineNaturalGradient(1, 30, 8).precondition(torch.randn(1, 70, 30).bfloat16())
assert y.isfinite().all() and scale.isfinite().all()
"""
    subprocess.run([sys.executable, "-c", code], env=os.environ | limits, check=True, timeout=120)


def test_a_result_by_columns_is_refused() -> None:
    out = np.zeros((4, 3), dtype=np.float32, order="F")
    with pytest.raises(AssertionError):
        multiply(np.ones((4, 2), dtype=np.float32), np.ones((2, 3), dtype=np.float32), out)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("with_one", [False, True])
@pytest.mark.parametrize(
    "dim, rank, rows",
    [(31, 6, 40), (31, 6, 3), (3, 1, 16), (2, 1, 1), (31, 6, 0), (1, 4, 5), (158, 79, 130), (40, 20, 64), (40, 7, 65)],
)
def test_a_minibatch_is_preconditioned_as_by_torch(
    dim: int, rank: int, rows: int, with_one: bool, dtype: torch.dtype
) -> None:
    replicas, part = 4, slice(1, 3)  # of two tensors of two replicas the second
    estimate = FisherEstimate(replicas, dim, rank, 2000.0, 4.0, 1e-10, 5e-4, with_one, "cpu")
    estimate.W = random(*estimate.W.shape, seed=2) / dim
    x = (random(2, rows, dim - with_one) * torch.linspace(3, 0.1, dim - with_one)).to(dtype)
    for wanted in (True, False):
        J = [torch.full((2, estimate.rank, dim), torch.nan) if wanted else None for _ in range(2)]
        mine, its = x.clone(), x.clone()
        compiled, plain = estimate.process(mine, part, J[0]), estimate.plain_process(its, part, J[1])
        tolerance = {"rtol": 0.02, "atol": 0.02} if dtype == torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-5}
        torch.testing.assert_close(mine, its, **tolerance)
        torch.testing.assert_close(compiled.before, plain.before)
        torch.testing.assert_close(compiled.after, plain.after, **tolerance)
        if wanted:
            torch.testing.assert_close(J[0], J[1], rtol=0.02, atol=0.02 * max(1.0, float(rows)) ** 0.5)
        assert (compiled.one is None) == (plain.one is None)
        if compiled.one is not None and plain.one is not None:
            torch.testing.assert_close(compiled.one, plain.one, **tolerance)


@pytest.mark.parametrize("name", ["sgd", "ng-sgd"])
def test_without_the_routines_torch_trains_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained() -> Tensor:
        network = StackedNetwork(dnn(8, 2, 2, 32, 11, "relu"), 2, "cpu").initialise(1)
        optimiser = optimizer(name, network, MaxChange(), 0.9)
        for k in range(20):
            x, labels = random(2, 64, 40, seed=k), torch.arange(128).view(2, 64) % 11
            optimiser.step(network.backward(x, labels), 0.01)
        return network.parameters.clone()

    fast = trained()
    for module in (fisher, optimizer_module):
        monkeypatch.setattr(module, "FAST_TYPES", frozenset())
    monkeypatch.setattr(fisher, "HAS_EIGH", False)
    torch.testing.assert_close(trained(), fast, rtol=1e-3, atol=1e-4)
