"""A step of contrastive divergence in few passes over memory, on a CPU by compiled loops, elsewhere by torch.

Nothing here waits for a GPU: what the variance guard decides stays there.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asr_parallel.nnet.bfloat16 import bits, load, store
from asr_parallel.nnet.products import product
from asr_parallel.nnet.rbm_parts import Parts
from asr_parallel.record.compiled import njit

# Kaldi nnet/nnet-rbm.h, RbmUpdate
LARGEST_RATIO = 2.0  # of the reconstruction's deviation to the data's
RATE_AFTER_GUARD = 0.9


@dataclass(frozen=True, slots=True)
class Model:
    """The tensors that a step changes: parameters, velocity, a copy of the products' dtype or None, lr_scale (R,)."""

    parts: Parts
    moves: Parts
    working: Parts | None
    lr_scale: Tensor
    guarded: bool


@dataclass(frozen=True, slots=True)
class StepResult:
    """The result of a step, on its device.

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
) -> StepResult:
    """Train each replica in turn, its numbers the same whatever is beside it.

    Args:
        model: what is changed.
        visible: as in RbmPhases.
        hidden: as in RbmPhases.
        gradient: (1, H, V) of their dtype, to write into; None when that is float32.
        rates: of the step.
        active: (R,) bool, see StackedRbm.update.
    """
    replicas, rows = len(visible), visible.shape[1] // 2
    struck, errors = torch.zeros(replicas, dtype=torch.bool), torch.zeros(replicas)
    momentum = np.float32(rates.momentum)
    seen, probabilities = bits(visible), bits(hidden)
    parameters, velocity = model.parts.flat.numpy(), model.moves.flat.numpy()
    copy = None if model.working is None else bits(model.working.flat)
    for r in range(replicas):
        if active is not None and not active[r]:
            continue
        biases = np.zeros(hidden.shape[2] + visible.shape[2], dtype=np.float32)
        errors[r], data, reconstruction = _compare(seen[r], biases[hidden.shape[2] :])
        if model.guarded and reconstruction > LARGEST_RATIO * data:
            struck[r] = True
            parameters[r] *= np.float32(data / reconstruction)
            velocity[r] = 0
            model.lr_scale[r] *= RATE_AFTER_GUARD
            if model.working is not None:
                model.working.flat[r].copy_(model.parts.flat[r])
            continue
        _add_rows(probabilities[r], biases[: hidden.shape[2]])
        rate = rates.rate * float(model.lr_scale[r])
        each, decay = np.float32(rate / rows), np.float32(rate * rates.l2)
        if copy is None:
            move = model.moves.weight[r]
            torch.addmm(move, hidden[r].mT, visible[r], beta=rates.momentum, alpha=rate / rows, out=move)
            _take(parameters[r], velocity[r], momentum, each, decay, biases, move.numel())
        else:
            assert gradient is not None
            by = bits(torch.mm(hidden[r].mT, visible[r], out=gradient[0])).reshape(-1)
            _take_low(parameters[r], velocity[r], momentum, each, decay, by, biases, copy[r])
    return StepResult(struck, errors)


def step_elsewhere(
    model: Model, visible: Tensor, hidden: Tensor, gradient: Tensor | None, rates: Rates, active: Tensor | None
) -> StepResult:
    """Train all replicas at once; arguments as `step_on_cpu`, except that gradient is (R, H, V) of any dtype."""
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
    rate = (rates.rate * model.lr_scale).float().masked_fill_(~taken, 0)
    keep = torch.where(taken, rates.momentum, 1.0).masked_fill_(struck, 0)
    moves.flat.mul_(keep.unsqueeze(1))
    each, idle = (rate / rows)[:, None], ~taken[:, None]
    product(hidden.mT, visible, out=gradient)
    moves.weight.add_(gradient.masked_fill_(idle.unsqueeze(2), 0) * each.unsqueeze(2))
    moves.weight.sub_(parts.weight * (rates.l2 * rate)[:, None, None])
    moves.hidden_bias.add_(hidden.sum(dim=1, dtype=torch.float32).masked_fill_(idle, 0) * each)
    moves.visible_bias.add_((data.sum(dim=1) - reconstruction.sum(dim=1)).masked_fill_(idle, 0) * each)
    parts.flat.mul_(scale.unsqueeze(1)).add_(moves.flat.masked_fill(idle, 0))
    model.lr_scale.mul_(torch.where(struck, RATE_AFTER_GUARD, 1.0))
    if model.working is not None:
        model.working.flat.copy_(parts.flat)
    return StepResult(struck, error_sum)


@njit(nogil=True)
def _compare(both: np.ndarray, difference: np.ndarray) -> tuple[float, float, float]:
    """Compare data, the first half of the rows of `both` (2B, V), with their reconstruction, the other half.

    Adds the sums over rows of data less reconstruction to `difference` (V,). Returns the sum of squared errors and, of
    data and reconstruction, the dimensions' standard deviations added up, which are what Kaldi compares.
    """
    rows, dims = both.shape[0] // 2, both.shape[1]
    sums = np.zeros((5, dims), dtype=np.float32)
    data_sum, other_sum, data_square, other_square, error = sums[0], sums[1], sums[2], sums[3], sums[4]
    for i in range(rows):
        data, other = both[i], both[rows + i]
        for k in range(dims):
            x = load(data[k])
            y = load(other[k])
            data_sum[k] += x
            other_sum[k] += y
            data_square[k] += x * x
            other_square[k] += y * y
            error[k] += (x - y) * (x - y)
    error_sum, data_deviation, other_deviation = 0.0, 0.0, 0.0
    for k in range(dims):
        difference[k] += data_sum[k] - other_sum[k]
        error_sum += error[k]
        data_deviation += np.sqrt(max(data_square[k] / rows - (data_sum[k] / rows) ** 2, 0.0))
        other_deviation += np.sqrt(max(other_square[k] / rows - (other_sum[k] / rows) ** 2, 0.0))
    return error_sum, data_deviation, other_deviation


@njit(nogil=True)
def _add_rows(x: np.ndarray, sums: np.ndarray) -> None:
    for i in range(x.shape[0]):
        row = x[i]
        for k in range(len(row)):
            sums[k] += load(row[k])


@njit(nogil=True)
def _take(
    parameters: np.ndarray, velocity: np.ndarray, momentum: np.float32, each: np.float32, decay: np.float32,
    biases: np.ndarray, weights: int,
) -> None:  # fmt: skip
    """Step, where the first `weights` numbers of velocity have momentum and gradient already; `biases`: a gradient."""
    for k in range(weights):
        velocity[k] -= decay * parameters[k]
        parameters[k] += velocity[k]
    for k in range(len(biases)):
        velocity[weights + k] = momentum * velocity[weights + k] + each * biases[k]
        parameters[weights + k] += velocity[weights + k]


@njit(nogil=True)
def _take_low(
    parameters: np.ndarray, velocity: np.ndarray, momentum: np.float32, each: np.float32, decay: np.float32,
    gradient: np.ndarray, biases: np.ndarray, copy: np.ndarray,
) -> None:  # fmt: skip
    """Step, where the weights' gradient and the copy of all parameters are bits of bfloat16."""
    weights = len(gradient)
    for k in range(weights):
        by = load(gradient[k])
        step = momentum * velocity[k] + each * by - decay * parameters[k]
        new = parameters[k] + step
        velocity[k] = step
        parameters[k] = new
        copy[k] = store(new, copy[k])
    for k in range(len(biases)):
        step = momentum * velocity[weights + k] + each * biases[k]
        new = parameters[weights + k] + step
        velocity[weights + k] = step
        parameters[weights + k] = new
        copy[weights + k] = store(new, copy[weights + k])
