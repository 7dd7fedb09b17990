"""Products of stacked matrices, whatever the number of replicas and the types."""

import pytest
import torch

from asr_parallel.nnet.products import add_product, product


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_are_those_of_each_replica(replicas: int, dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(0)
    a = torch.randn(replicas, 9, 4, generator=random).to(dtype)
    b = torch.randn(replicas, 6, 9, generator=random).to(dtype)
    row = torch.randn(replicas, 1, 6, generator=random).to(dtype)
    want = a.double().mT @ b.double().mT
    error = 1e-5 if dtype == torch.float32 else 2e-2

    part = torch.zeros(replicas, 4, 7)  # float32, and not contiguous
    product(a.mT, b.mT, out=part[:, :, :-1])
    torch.testing.assert_close(part[:, :, :-1].double(), want, rtol=error, atol=error)
    assert not part[:, :, -1].any()

    out = torch.empty(replicas, 4, 6, dtype=dtype)
    add_product(row, a.mT, b.mT, alpha=-2, out=out)
    torch.testing.assert_close(out.double(), row.double() - 2 * want, rtol=error, atol=error)
    again = out.clone()
    add_product(out, a.mT, b.mT, alpha=2, out=out)  # in place
    torch.testing.assert_close(out.double(), again.double() + 2 * want, rtol=error, atol=error)
