"""Elementwise passes of a training step on a CPU, each over memory once, compiled by numba.

Arrays are NumPy's, of stacked matrices (R, rows, dims), as nnet/bfloat16.py makes them of tensors. Every pass has a
plain version in torch, which GPUs use and which tests compare it with; the docstrings name it. With error_model "numpy"
a division by zero gives infinity or NaN, as in torch: a training that overflows is told by its loss.
"""

from typing import Any

import numpy as np

from asr_parallel.nnet.bfloat16 import load, store
from asr_parallel.record.compiled import njit

SUMS = {"reassoc", "contract"}  # sums in any order: several at a time
CHUNK = 1024  # terms added up in float32 before float64 takes over

# exp(x) = 2^k exp(r): Cephes' expf, whose polynomial is within 2 units in the last place of float32
LOG2_E = np.float32(1.44269504088896341)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
EXP = tuple(np.float32(c) for c in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2,
                                    1.6666665459e-1, 5.0000001201e-1))  # fmt: skip
LEAST_EXPONENT = np.float32(-87.0)  # below, exp is not a normal number


@njit(nogil=True, error_model="numpy", fastmath=SUMS)
def sum_of_squares(x: np.ndarray) -> float:
    """Return the sum of squares of (n,) numbers. Plain version: `Tensor.square().sum()`."""
    total = 0.0
    for start in range(0, len(x), CHUNK):
        part = x[start : start + CHUNK]
        squares = np.float32(0)
        for i in range(len(part)):
            value = load(part[i])
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
                row[i] = store(_relu(load(row[i]) + load(of_row[i])), row[i])


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
                y = _relu(load(row[i]) + load(of_row[i]))
                squares += y * y
                row[i] = store(y, row[i])
            mean = squares / np.float32(len(row))
            factor = target_rms / np.sqrt(floor if mean < floor else mean)
            scale[r, n] = factor
            for i in range(len(row)):
                row[i] = store(load(row[i]) * factor, row[i])


@njit(nogil=True, error_model="numpy", fastmath=SUMS)
def relu_backward(derivative: np.ndarray, y: np.ndarray) -> None:
    """Make the derivative by the output y that by the input, (R, rows, dims). Plain version: Relu.backward."""
    for r in range(y.shape[0]):
        for n in range(y.shape[1]):
            row, out = derivative[r, n], y[r, n]
            for i in range(len(row)):
                change = load(row[i])
                row[i] = store(change if load(out[i]) > 0 else np.float32(0), row[i])


@njit(nogil=True, error_model="numpy", fastmath=SUMS)
def relu_renorm_backward(derivative: np.ndarray, y: np.ndarray, scale: np.ndarray, target_rms: np.float32) -> None:
    """Make the derivative by the output y that by the input, (R, rows, dims), with the factors of the rows.

    Plain version: Renorm.backward, Relu.backward.
    """
    for r in range(y.shape[0]):
        for n in range(y.shape[1]):
            row, out, along = derivative[r, n], y[r, n], np.float32(0)
            for i in range(len(row)):
                along += load(row[i]) * load(out[i])
            along = -along / (np.float32(len(row)) * target_rms * target_rms)
            factor = scale[r, n]
            for i in range(len(row)):
                value = load(out[i])
                change = (load(row[i]) + value * along) * factor
                row[i] = store(change if value > 0 else np.float32(0), row[i])


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
                exps[i] = _exp(load(row[i]) - best)
            total = _sum(exps)
            of_label = load(row[label]) - best
            loss += np.log(total) - of_label
            right += of_label >= 0  # a NaN is not
            inverse = np.float32(1) / total
            for i in range(len(row)):
                out[i] = store(exps[i] * inverse, out[i])
            out[label] = store(exps[label] * inverse - np.float32(1), out[label])
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
            row, weight = x[r, n], load(weights[r, n, 0])
            for i in range(len(row)):
                sums[i] += weight * load(row[i])


@njit(nogil=True, error_model="numpy", fastmath=SUMS)
def ones_left(H: np.ndarray, of_one: np.ndarray, out: np.ndarray) -> None:
    """Write 1 - H (R, rows, rank) of_one (R, 1, rank)^T into float32 `out` (R, rows, 1)."""
    for r in range(H.shape[0]):
        for n in range(H.shape[1]):
            row, along, total = H[r, n], of_one[r, 0], np.float32(0)
            for i in range(len(row)):
                total += load(row[i]) * load(along[i])
            out[r, n, 0] = np.float32(1) - total


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
        rounded[i] = store(value, rounded[i])


@njit(nogil=True, error_model="numpy")
def _relu(x: Any) -> Any:
    return np.float32(0) if x < 0 else x  # NaN stays NaN


@njit(nogil=True, error_model="numpy", fastmath={"nnan", "nsz"})
def _greatest(row: np.ndarray) -> Any:
    """Return the greatest of numbers; any of them, if one is NaN."""
    best = load(row[0])
    for i in range(1, len(row)):
        value = load(row[i])
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
