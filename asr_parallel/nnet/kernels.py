"""Elementwise passes of a training step on a CPU, each over memory once, compiled by numba.

Arrays are NumPy's, of stacked matrices (R, rows, dims). bfloat16 comes as its bits, uint16: a number is the upper half
of a float32. Every pass has a plain version in torch, which GPUs use and which tests compare it with; the docstrings
name it. With error_model "numpy" a division by zero gives infinity or NaN, as in torch: a training that overflows is
told by its loss.
"""

from typing import Any

import numpy as np
import torch
from numba import types
from numba.extending import overload
from torch import Tensor

from asr_parallel.record.compiled import njit

SUMS = {"reassoc", "contract"}  # sums in any order: several at a time
CHUNK = 1024  # terms added up in float32 before float64 takes over

# exp(x) = 2^k exp(r): Cephes' expf, whose polynomial is within 2 units in the last place of float32
LOG2_E = np.float32(1.44269504088896341)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
EXP = tuple(np.float32(c) for c in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2,
                                    1.6666665459e-1, 5.0000001201e-1))  # fmt: skip
LEAST_EXPONENT = np.float32(-87.0)  # below, exp is not a normal number


def bits(tensor: Tensor) -> np.ndarray:
    """Return a tensor's memory as NumPy has it: float32, or the bits of bfloat16."""
    array: np.ndarray = (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array


def _load(x: Any) -> Any:
    """Return a number of an array as float32."""
    raise NotImplementedError("compiled only")


def _store(x: Any, like: Any) -> Any:
    """Return a float32 as an array's numbers are: rounded to the nearest, to even at a tie."""
    raise NotImplementedError("compiled only")


@overload(_load)
def _load_compiled(x):  # type: ignore[no-untyped-def]  # numba compares signatures
    if isinstance(x, types.Integer):
        return lambda x: np.uint32(np.uint32(x) << np.uint32(16)).view(np.float32)
    return lambda x: x


@overload(_store)
def _store_compiled(x, like):  # type: ignore[no-untyped-def]
    if isinstance(like, types.Integer):

        def rounded(x, like):  # type: ignore[no-untyped-def]
            word = np.float32(x).view(np.uint32)
            even = np.uint32(0x7FFF) + (np.uint32(word >> np.uint32(16)) & np.uint32(1))
            nearest = np.uint32(np.uint32(word + even) >> np.uint32(16))
            return np.uint16(nearest if x == x else np.uint32(0x7FC0))  # NaN stays NaN

        return rounded
    return lambda x, like: np.float32(x)


@njit(nogil=True, error_model="numpy", fastmath=SUMS)
def sum_of_squares(x: np.ndarray) -> float:
    """Return the sum of squares of (n,) numbers. Plain version: `Tensor.square().sum()`."""
    total = 0.0
    for start in range(0, len(x), CHUNK):
        part = x[start : start + CHUNK]
        squares = np.float32(0)
        for i in range(len(part)):
            value = _load(part[i])
            squares += value * value
        total += float(squares)
    return total


@njit(nogil=True, error_model="numpy", fastmath=SUMS)
def bias_relu(x: np.ndarray, bias: np.ndarray) -> None:
    """Make x (R, rows, dims) max(0, x + bias (R, dims)). Plain version: Affine's bias, Relu."""
    for r in range(x.shape[0]):
        for n in range(x.shape[1]):
            row, of_row = x[r, n], bias[r]
            for i in range(len(row)):
                row[i] = _store(_relu(_load(row[i]) + _load(of_row[i])), row[i])


@njit(nogil=True, error_model="numpy", fastmath=SUMS)
def bias_relu_renorm(
    x: np.ndarray, bias: np.ndarray, scale: np.ndarray, target_rms: np.float32, floor: np.float32
) -> None:
    """Make x (R, rows, dims) the renormalised max(0, x + bias (R, dims)); write the factors into scale (R, rows).

    Plain version: Affine's bias, Relu, Renorm.
    """
    for r in range(x.shape[0]):
        for n in range(x.shape[1]):
            row, of_row, squares = x[r, n], bias[r], np.float32(0)
            for i in range(len(row)):
                y = _relu(_load(row[i]) + _load(of_row[i]))
                squares += y * y
                row[i] = _store(y, row[i])
            mean = squares / np.float32(len(row))
            factor = target_rms / np.sqrt(floor if mean < floor else mean)
            scale[r, n] = factor
            for i in range(len(row)):
                row[i] = _store(_load(row[i]) * factor, row[i])


@njit(nogil=True, error_model="numpy", fastmath=SUMS)
def relu_backward(derivative: np.ndarray, y: np.ndarray) -> None:
    """Make the derivative by the output y that by the input, (R, rows, dims). Plain version: Relu.backward."""
    for r in range(y.shape[0]):
        for n in range(y.shape[1]):
            row, out = derivative[r, n], y[r, n]
            for i in range(len(row)):
                change = _load(row[i])
                row[i] = _store(change if _load(out[i]) > 0 else np.float32(0), row[i])


@njit(nogil=True, error_model="numpy", fastmath=SUMS)
def relu_renorm_backward(derivative: np.ndarray, y: np.ndarray, scale: np.ndarray, target_rms: np.float32) -> None:
    """Make the derivative by the output y that by the input, (R, rows, dims), with the factors of the rows.

    Plain version: Renorm.backward, Relu.backward.
    """
    for r in range(y.shape[0]):
        for n in range(y.shape[1]):
            row, out, along = derivative[r, n], y[r, n], np.float32(0)
            for i in range(len(row)):
                along += _load(row[i]) * _load(out[i])
            along = -along / (np.float32(len(row)) * target_rms * target_rms)
            factor = scale[r, n]
            for i in range(len(row)):
                value = _load(out[i])
                change = (_load(row[i]) + value * along) * factor
                row[i] = _store(change if value > 0 else np.float32(0), row[i])


@njit(nogil=True, error_model="numpy")
def softmax_cross_entropy(
    logits: np.ndarray, labels: np.ndarray, derivative: np.ndarray, loss_sum: np.ndarray, correct: np.ndarray
) -> None:
    """Write the loss (R,) of logits (R, rows, pdfs), its derivative, and how often the label is the best (R,).

    Plain version: CrossEntropy.plain.
    """
    exps = np.empty(logits.shape[2], dtype=np.float32)
    for r in range(logits.shape[0]):
        loss, right = 0.0, 0
        for n in range(logits.shape[1]):
            row, label, out = logits[r, n], labels[r, n], derivative[r, n]
            best = _greatest(row)
            for i in range(len(row)):
                exps[i] = _exp(_load(row[i]) - best)
            total = _sum(exps)
            of_label = _load(row[label]) - best
            loss += np.log(total) - of_label
            right += of_label >= 0  # a NaN is not
            inverse = np.float32(1) / total
            for i in range(len(row)):
                out[i] = _store(exps[i] * inverse, out[i])
            out[label] = _store(exps[label] * inverse - np.float32(1), out[label])
        loss_sum[r], correct[r] = loss, right


@njit(nogil=True, error_model="numpy", fastmath=SUMS)
def column_sums(x: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """Write the sums over rows of x (R, rows, dims), times weights (R, rows, 1), into float32 `out` (R, dims).

    Plain version: `weights.mT @ x`.
    """
    for r in range(x.shape[0]):
        sums = out[r]
        sums[:] = 0
        for n in range(x.shape[1]):
            row, weight = x[r, n], _load(weights[r, n, 0])
            for i in range(len(row)):
                sums[i] += weight * _load(row[i])


@njit(nogil=True, error_model="numpy", fastmath=SUMS)
def ones_left(H: np.ndarray, of_one: np.ndarray, out: np.ndarray) -> None:
    """Write 1 - H (R, rows, rank) of_one (R, 1, rank)^T into float32 `out` (R, rows, 1)."""
    for r in range(H.shape[0]):
        for n in range(H.shape[1]):
            row, along, total = H[r, n], of_one[r, 0], np.float32(0)
            for i in range(len(row)):
                total += _load(row[i]) * _load(along[i])
            out[r, n, 0] = np.float32(1) - total


@njit(nogil=True, error_model="numpy", fastmath=SUMS)
def widen(x: np.ndarray, out: np.ndarray) -> float:
    """Copy (n,) numbers into float32 `out`; return their sum of squares."""
    total = 0.0
    for start in range(0, len(x), CHUNK):
        part, into, squares = x[start : start + CHUNK], out[start : start + CHUNK], np.float32(0)
        for i in range(len(part)):
            value = _load(part[i])
            into[i] = value
            squares += value * value
        total += float(squares)
    return total


@njit(nogil=True, error_model="numpy", fastmath=SUMS)
def descend(parameters: np.ndarray, change: np.ndarray, factor: np.float32) -> None:
    """Subtract factor * change from (n,) parameters. Plain version: `Tensor.sub_`."""
    for i in range(len(parameters)):
        parameters[i] -= factor * change[i]


@njit(nogil=True, error_model="numpy", fastmath=SUMS)
def descend_and_round(parameters: np.ndarray, change: np.ndarray, factor: np.float32, rounded: np.ndarray) -> None:
    """Subtract factor * change from (n,) parameters, and write them rounded as well.

    Plain version: `descend`, then StackedNetwork.parameters_changed.
    """
    for i in range(len(parameters)):
        value = parameters[i] - factor * change[i]
        parameters[i] = value
        rounded[i] = _store(value, rounded[i])


@njit(nogil=True, error_model="numpy")
def _relu(x: Any) -> Any:
    return np.float32(0) if x < 0 else x  # NaN stays NaN


@njit(nogil=True, error_model="numpy", fastmath={"nnan", "nsz"})
def _greatest(row: np.ndarray) -> Any:
    """Return the greatest of numbers; any of them, if one is NaN."""
    best = _load(row[0])
    for i in range(1, len(row)):
        value = _load(row[i])
        best = value if value > best else best
    return best


@njit(nogil=True, error_model="numpy", fastmath=SUMS)
def _sum(x: np.ndarray) -> Any:
    total = np.float32(0)
    for i in range(len(x)):
        total += x[i]
    return total


@njit(nogil=True, error_model="numpy")
def _exp(x: Any) -> Any:
    """Return exp(x) for x <= 0."""
    x = LEAST_EXPONENT if x < LEAST_EXPONENT else x
    k = np.floor(x * LOG2_E + np.float32(0.5))
    r = x - k * LN2_HIGH - k * LN2_LOW
    p = EXP[0]
    p = p * r + EXP[1]
    p = p * r + EXP[2]
    p = p * r + EXP[3]
    p = p * r + EXP[4]
    p = p * r + EXP[5]
    power = np.int32((np.int32(k) + np.int32(127)) << np.int32(23)).view(np.float32)
    return (p * r * r + r + np.float32(1)) * power
