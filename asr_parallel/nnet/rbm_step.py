"""A step of contrastive divergence in few passes over memory, on a CPU by compiled loops, elsewhere by torch.

Nothing here waits for a GPU: what the variance guard decides stays there.
"""

from dataclasses import dataclass

import numba
import numpy as np
import torch
from torch import Tensor

from asr_parallel.nnet.products import product
from asr_parallel.nnet.rbm_parts import Parts
from asr_parallel.nnet.sampling import bits_of, shift_of

# Kaldi nnet/nnet-rbm.h, RbmUpdate
LARGEST_RATIO = 2.0  # of the reconstruction's deviation to the data's
RATE_AFTER_GUARD = 0.9


@dataclass(frozen=True, slots=True)
class Model:
    """What a step changes: parameters, velocity, their copy of the products' dtype (or None) and rate_factor (R,)."""

    parts: Parts
    moves: Parts
    working: Parts | None
    rate_factor: Tensor
    guarded: bool


@dataclass(frozen=True, slots=True)
class Step:
    """What came of a step, on its device.

    struck (R,) bool: whether the variance guard struck.
    error_sum (R,) float32: squared error of the reconstruction over frames and dimensions; 0 of replicas not active.
    """

    struck: Tensor
    error_sum: Tensor


@dataclass(frozen=True, slots=True)
class Rates:
    """Learning rate (for the gradient's mean over a minibatch), momentum, and L2 of the weights (times the rate)."""

    rate: float
    momentum: float
    l2: float


def step_on_cpu(
    model: Model, visible: Tensor, hidden: Tensor, gradient: Tensor | None, rates: Rates, active: Tensor | None
) -> Step:
    """Each replica in turn, its numbers the same whatever is beside it.

    Args:
        visible, hidden: as in Phases.
        gradient: (1, H, V) of their dtype, to write into; None when that is float32.
        active: (R,) bool, see StackedRbm.update.
    """
    replicas, rows = len(visible), visible.shape[1] // 2
    parts, moves, working = model.parts, model.moves, model.working
    struck, errors = torch.zeros(replicas, dtype=torch.bool), torch.zeros(replicas)
    shift = shift_of(visible)
    for r in range(replicas):
        if active is not None and not active[r]:
            continue
        sums = np.zeros((5, visible.shape[2]), dtype=np.float32)
        seen = bits_of(visible[r])
        _compare(seen[:rows], seen[rows:], shift, sums)
        errors[r] = float(sums[4].sum(dtype=np.float64))
        if model.guarded:
            data, reconstruction = _deviation(sums[0], sums[2], rows), _deviation(sums[1], sums[3], rows)
            if reconstruction > LARGEST_RATIO * data:
                struck[r] = True
                parts.flat[r] *= data / reconstruction
                moves.flat[r].zero_()
                model.rate_factor[r] *= RATE_AFTER_GUARD
                if working is not None:
                    working.flat[r].copy_(parts.flat[r])
                continue
        rate = rates.rate * float(model.rate_factor[r])
        each, decay, momentum = np.float32(rate / rows), np.float32(rate * rates.l2), np.float32(rates.momentum)
        weight, move = parts.weight[r], moves.weight[r]
        if working is None:
            torch.addmm(move, hidden[r].mT, visible[r], beta=rates.momentum, alpha=rate / rows, out=move)
            _take(weight.numpy(), move.numpy(), decay)
        else:
            assert gradient is not None
            by, copy = torch.mm(hidden[r].mT, visible[r], out=gradient[0]), working.weight[r]
            _take_low(weight.numpy(), move.numpy(), bits_of(by), momentum, each, decay, bits_of(copy))
        difference = np.zeros(hidden.shape[2], dtype=np.float32)
        _add_rows(bits_of(hidden[r]), shift, difference)
        biases = [(p.hidden_bias, p.visible_bias) for p in (parts, moves)]
        for bias, bias_move, sum_ in zip(*biases, (difference, sums[0] - sums[1]), strict=True):
            bias_move[r].mul_(rates.momentum).add_(torch.from_numpy(sum_), alpha=rate / rows)
            bias[r].add_(bias_move[r])
        if working is not None:
            working.hidden_bias[r].copy_(parts.hidden_bias[r])
            working.visible_bias[r].copy_(parts.visible_bias[r])
    return Step(struck, errors)


def step_elsewhere(
    model: Model, visible: Tensor, hidden: Tensor, gradient: Tensor | None, rates: Rates, active: Tensor | None
) -> Step:
    """All replicas at once; arguments as `step_on_cpu`, except that gradient is (R, H, V) of any dtype."""
    assert gradient is not None
    rows = visible.shape[1] // 2
    parts, moves = model.parts, model.moves
    data, reconstruction = (x.float() for x in visible.chunk(2, dim=1))
    error_sum = (data - reconstruction).square_().sum(dim=(1, 2))
    taken = torch.ones_like(error_sum, dtype=torch.bool) if active is None else active
    error_sum.masked_fill_(~taken, 0)
    struck, scale = torch.zeros_like(taken), torch.ones_like(error_sum)
    if model.guarded:
        ours, theirs = (x.std(dim=1, correction=0).sum(dim=1) for x in (data, reconstruction))
        struck = (theirs > LARGEST_RATIO * ours) & taken
        scale = torch.where(struck, ours / theirs, scale)
    taken = taken & ~struck
    rate = (rates.rate * model.rate_factor).float().masked_fill_(~taken, 0)
    keep = torch.where(taken, rates.momentum, 1.0).masked_fill_(struck, 0)
    moves.flat.mul_(keep.unsqueeze(1))
    each, idle = (rate / rows)[:, None], ~taken[:, None]
    product(hidden.mT, visible, out=gradient)
    moves.weight.add_(gradient.masked_fill_(idle.unsqueeze(2), 0) * each.unsqueeze(2))
    moves.weight.sub_(parts.weight * (rates.l2 * rate)[:, None, None])
    moves.hidden_bias.add_(hidden.sum(dim=1, dtype=torch.float32).masked_fill_(idle, 0) * each)
    moves.visible_bias.add_((data.sum(dim=1) - reconstruction.sum(dim=1)).masked_fill_(idle, 0) * each)
    parts.flat.mul_(scale.unsqueeze(1)).add_(moves.flat.masked_fill(idle, 0))
    model.rate_factor.mul_(torch.where(struck, RATE_AFTER_GUARD, 1.0))
    if model.working is not None:
        model.working.flat.copy_(parts.flat)
    return Step(struck, error_sum)


def _deviation(sums: np.ndarray, squares: np.ndarray, rows: int) -> float:
    """Sum of the dimensions' standard deviations, as Kaldi compares them."""
    return float(np.sqrt(np.maximum(squares / rows - np.square(sums / rows), 0)).sum(dtype=np.float64))


@numba.njit(cache=True, nogil=True)
def _compare(data: np.ndarray, other: np.ndarray, shift: np.uint32, sums: np.ndarray) -> None:
    """Add to `sums` (5, V), by column: data, other, their squares, and the squares of their difference."""
    data_sum, other_sum, data_square, other_square, error = sums[0], sums[1], sums[2], sums[3], sums[4]
    for i in range(data.shape[0]):
        for k in range(data.shape[1]):
            x = np.uint32(np.uint32(data[i, k]) << shift).view(np.float32)
            y = np.uint32(np.uint32(other[i, k]) << shift).view(np.float32)
            data_sum[k] += x
            other_sum[k] += y
            data_square[k] += x * x
            other_square[k] += y * y
            error[k] += (x - y) * (x - y)


@numba.njit(cache=True, nogil=True)
def _add_rows(x: np.ndarray, shift: np.uint32, sums: np.ndarray) -> None:
    for i in range(x.shape[0]):
        for k in range(x.shape[1]):
            sums[k] += np.uint32(np.uint32(x[i, k]) << shift).view(np.float32)


@numba.njit(cache=True, nogil=True)
def _take(weight: np.ndarray, move: np.ndarray, decay: np.float32) -> None:
    for i in range(weight.shape[0]):
        for k in range(weight.shape[1]):
            move[i, k] -= decay * weight[i, k]
            weight[i, k] += move[i, k]


@numba.njit(cache=True, nogil=True)
def _take_low(
    weight: np.ndarray, move: np.ndarray, gradient: np.ndarray, momentum: np.float32, each: np.float32,
    decay: np.float32, working: np.ndarray,
) -> None:  # fmt: skip
    """The gradient is in bfloat16, and so is the copy of the weights, rounded to nearest even."""
    for i in range(weight.shape[0]):
        for k in range(weight.shape[1]):
            by = np.uint32(np.uint32(gradient[i, k]) << np.uint32(16)).view(np.float32)
            step = momentum * move[i, k] + each * by - decay * weight[i, k]
            new = weight[i, k] + step
            move[i, k] = step
            weight[i, k] = new
            bits = np.float32(new).view(np.uint32)
            odd = (bits >> np.uint32(16)) & np.uint32(1)
            working[i, k] = np.uint16((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))
