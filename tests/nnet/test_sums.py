"""Sums of squares against float64."""

import pytest
import torch

from asr_parallel.nnet.products import sums_of_squares


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sums_are_exact_to_float32(dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(0)
    sizes = [(2, 7, 333), (1, 1, 1), (3, 5), (2, 2048)]
    xs = [torch.randn(size, generator=random).mul(100).to(dtype) for size in sizes]
    xs.append(xs[0].mT[:, 3:])  # not contiguous
    want = torch.cat([x.double().square().flatten(1).sum(1) for x in xs])
    torch.testing.assert_close(sums_of_squares([(x,) for x in xs]).double(), want, rtol=2e-7, atol=0)
    together = sums_of_squares([(xs[0], xs[3])]).double()
    torch.testing.assert_close(together, want[:2] + want[6:8], rtol=2e-7, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_shows(dtype: torch.dtype, poison: float) -> None:
    x = torch.ones(2, 3000, dtype=dtype)
    x[1, 1234] = poison
    sums = sums_of_squares([(x,)])
    assert sums[0] == 3000 and not sums[1].isfinite()
