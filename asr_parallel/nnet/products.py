"""Products of stacked matrices, into memory that is there already.

On a CPU the replicas take turns: one replica's matrices stay in the cache, which a batched call does not see to.
Elsewhere all are multiplied in one call. So on a CPU a replica's numbers are the same whatever is beside it.
"""

import torch
from torch import Tensor


def product(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
    """Write a @ b into `out` and return it: (R, n, k) and (R, k, m) of one type, out (R, n, m) of that or wider."""
    if a.dtype != out.dtype:
        return out.copy_(product(a, b, a.new_empty(out.shape)))
    if a.device.type != "cpu":
        return torch.bmm(a, b, out=out)
    for own_a, own_b, own_out in zip(a, b, out, strict=True):
        torch.mm(own_a, own_b, out=own_out)
    return out


def add_product(c: Tensor, a: Tensor, b: Tensor, alpha: float, out: Tensor) -> Tensor:
    """Write c + alpha * a @ b into `out` and return it, all of one type; out may be c, and c (R, 1, m)."""
    if a.device.type != "cpu":
        return torch.baddbmm(c, a, b, alpha=alpha, out=out)
    for own_c, own_a, own_b, own_out in zip(c, a, b, out, strict=True):
        torch.addmm(own_c, own_a, own_b, alpha=alpha, out=own_out)
    return out
