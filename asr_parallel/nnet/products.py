"""Products and sums of squares of stacked matrices.

Products are written into memory that is there already. On a CPU the replicas take turns: one replica's matrices stay in
the cache, which a batched call does not see to. Elsewhere all are multiplied in one call. So on a CPU a replica's
numbers are the same whatever is beside it.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from asr_parallel.nnet.bfloat16 import bits
from asr_parallel.nnet.kernels import sum_of_squares

Add = Callable[[Tensor], None]  # replaces a sum over frames by the sum over all processes' frames


def product(a: Tensor, b: Tensor, out: Tensor, rounded: Tensor | None = None) -> Tensor:
    """Write a @ b into `out` and return it: (R, n, k) and (R, k, m) of one type, out (R, n, m) of that or wider.

    Args:
        a, b, out: see above.
        rounded: memory of the shape of `out` and the type of the others, for an `out` that is wider.
    """
    if a.dtype != out.dtype:
        return out.copy_(product(a, b, a.new_empty(out.shape) if rounded is None else rounded))
    if a.device.type != "cpu":
        return torch.bmm(a, b, out=out)
    for own_a, own_b, own_out in zip(each(a), each(b), each(out), strict=True):
        torch.mm(own_a, own_b, out=own_out)
    return out


def add_product(c: Tensor, a: Tensor, b: Tensor, alpha: float, out: Tensor) -> Tensor:
    """Write c + alpha * a @ b into `out` and return it, all of one type; out may be c, and c (R, 1, m)."""
    if a.device.type != "cpu":
        return torch.baddbmm(c, a, b, alpha=alpha, out=out)
    for own_c, own_a, own_b, own_out in zip(each(c), each(a), each(b), each(out), strict=True):
        torch.addmm(own_c, own_a, own_b, alpha=alpha, out=own_out)
    return out


def each(x: Tensor) -> Sequence[Tensor]:
    """Return the replicas' matrices: a tensor's own iterator takes three times as long."""
    return (x[0],) if x.size(0) == 1 else x.unbind()


def sums_of_squares(stacks: Sequence[tuple[Tensor, ...]]) -> Tensor:
    """Return every replica's sum: (sum of R,) float32.

    On a CPU in one pass over memory: torch's own reductions are several times slower for bfloat16.

    Args:
        stacks: one after the other; each of one or more (R, ...) tensors of float32 or bfloat16, taken together.
    """
    if stacks[0][0].device.type != "cpu":
        return torch.cat([sum((_off_the_cpu(x) for x in rest), _off_the_cpu(first)) for first, *rest in stacks])
    sums = []
    for stack in stacks:
        numbers = [bits(x) for x in stack]
        sums += [sum([sum_of_squares(x[r].reshape(-1)) for x in numbers]) for r in range(len(numbers[0]))]
    return torch.from_numpy(np.array(sums, dtype=np.float32))


def _off_the_cpu(x: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1, dtype=torch.float32)
    return length.square_()
