"""The Fisher estimate on a CPU, compiled by numba: minibatches preconditioned, and the elementwise work of an update.

The plain version of all of it is in nnet/fisher.py, whose table gives the names; R is the number of estimates, N the
rows, K the rank, D the dimensions.
"""

import numpy as np

from asr_parallel.nnet.bfloat16 import load, store
from asr_parallel.nnet.blas import multiply
from asr_parallel.nnet.kernels import SUMS, ones_left, sum_of_squares
from asr_parallel.record.compiled import njit


@njit(nogil=True, error_model="numpy")
def toward(
    J: np.ndarray, W: np.ndarray, rho: np.ndarray, d: np.ndarray, squares: np.ndarray, share: float, keep: float,
    alpha: float, Y: np.ndarray, unit: np.ndarray,
) -> None:  # fmt: skip
    """Write Y (R, K, D) and unit (R,), float64, for J and W (R, K, D), rho, squares (R,) and d (R, K), float32.

    Plain version: FisherEstimate.toward. share: eta / N. keep: 1 - eta.
    """
    for r in range(len(W)):
        rank, dim = W[r].shape
        sum_d = 0.0
        for k in range(rank):
            sum_d += float(d[r, k])
        own = float(rho[r])
        unit[r] = share * float(squares[r]) + keep * (dim * own + sum_d)
        beta = own * (1 + alpha) + alpha / dim * sum_d
        for k in range(rank):
            deviation = float(d[r, k])
            factor = np.sqrt(beta / deviation + 1) / unit[r]
            old, new = keep * (deviation + own) * factor, share * factor
            for i in range(dim):
                Y[r, k, i] = new * float(J[r, k, i]) + old * float(W[r, k, i])


@njit(nogil=True, error_model="numpy")
def next_variances(
    c: np.ndarray, rho: np.ndarray, unit: np.ndarray, keep: float, alpha: float, delta: float, epsilon: float, dim: int,
    noise: float, next_rho: np.ndarray, next_d: np.ndarray, length: np.ndarray,
) -> bool:  # fmt: skip
    """Write the next rho (R,), d (R, K) and sqrt(E / C) (R, K), float64, for eigenvalues c (R, K) in ascending order.

    Plain version: FisherEstimate.adopt.

    Returns:
        False if an eigenvalue is noise, and so its direction.
    """
    clean = True
    for r in range(len(c)):
        rank = c.shape[1]
        floor = (keep * float(rho[r]) / unit[r]) ** 2
        total = 0.0
        for k in range(rank):
            clean &= c[r, rank - 1 - k] > noise * c[r, rank - 1]
            next_d[r, k] = np.sqrt(max(c[r, rank - 1 - k], floor))
            total += next_d[r, k]
        own = (1 - total) / (dim - rank)
        least = max(delta * next_d[r, 0], epsilon / unit[r])
        sum_d = 0.0
        for k in range(rank):
            next_d[r, k] = unit[r] * max(next_d[r, k] - own, least)
            sum_d += next_d[r, k]
        next_rho[r] = unit[r] * max(own, least)
        beta = next_rho[r] * (1 + alpha) + alpha / dim * sum_d
        for k in range(rank):
            length[r, k] = np.sqrt(1 / ((beta / next_d[r, k] + 1) * c[r, rank - 1 - k]))
    return clean


@njit(nogil=True, error_model="numpy")
def rotation(U: np.ndarray, length: np.ndarray, out: np.ndarray) -> None:
    """Write the columns of U (R, K, K), last first, as rows of these lengths (R, K) into `out`."""
    rank = U.shape[1]
    for r in range(len(U)):
        for k in range(rank):
            for i in range(rank):
                out[r, k, i] = U[r, i, rank - 1 - k] * length[r, k]


@njit(nogil=True, error_model="numpy")
def replace_finite(
    W: np.ndarray, rho: np.ndarray, d: np.ndarray, next_W: np.ndarray, next_rho: np.ndarray, next_d: np.ndarray
) -> None:
    """Replace the estimates W (R, K, D), rho and d by the next ones, float64, where those are finite."""
    for r in range(len(W)):
        total = next_rho[r]
        for k in range(W.shape[1]):
            total += next_d[r, k]
            for i in range(W.shape[2]):
                total += next_W[r, k, i]
        if np.isfinite(np.float32(total)):
            W[r], rho[r], d[r] = next_W[r], next_rho[r], next_d[r]


@njit(nogil=True, error_model="numpy")
def precondition(
    x: np.ndarray, W: np.ndarray, of_one: np.ndarray, product: np.ndarray, H: np.ndarray, J: np.ndarray,
    ones: np.ndarray, before: np.ndarray, after: np.ndarray,
) -> None:  # fmt: skip
    """Make minibatches x (R, N, C) their y; write J, the preconditioned appended ones, and sums of squares with them.

    Plain version: FisherEstimate.plain_process.

    Args:
        x: as W, of_one and H an array of `bits`.
        W: (R, K, C), without the column for the appended 1.
        of_one: (R, 1, K), that column; (R, 0, K): nothing is appended.
        product: memory, float32, at least N * max(K, C).
        H: memory, (1, N, K).
        J: (R, K, D) float32; (0, K, D): it is not wanted.
        ones: (R, N, 1) float32; (R, 0, 1): nothing is appended.
        before: (R,) float32, of x and the appended ones.
        after: (R,) float32, of what is left of both.
    """
    rows, columns, rank, has_ones = x.shape[1], x.shape[2], W.shape[1], of_one.shape[1] > 0
    for r in range(len(x)):
        before[r] = sum_of_squares(x[r].reshape(-1)) + (rows if has_ones else 0)
        if rows == 0 or rank == 0:
            after[r] = before[r]
            J.fill(0)
            ones.fill(1)
            continue
        projected = product[: rows * rank].reshape((rows, rank))
        multiply(x[r], W[r].T, projected)
        _add_and_round(projected, of_one[r], H[0])
        if len(J) > 0:
            multiply(H[0].T, x[r], J[r, :, :columns])
            if has_ones:
                _sum_columns(H[0], J[r, :, columns])
        along = product[: rows * columns].reshape((rows, columns))
        multiply(H[0], W[r], along)
        squares = _subtract(x[r], along)
        if has_ones:
            ones_left(H, of_one[r : r + 1], ones[r : r + 1])
            squares += sum_of_squares(ones[r, :, 0])
        after[r] = squares


@njit(nogil=True, error_model="numpy", fastmath=SUMS)
def _add_and_round(x: np.ndarray, of_one: np.ndarray, out: np.ndarray) -> None:
    """Write x (N, K), plus of_one (1, K) or (0, K), into an array of `bits`."""
    for n in range(len(x)):
        for k in range(x.shape[1]):
            out[n, k] = store(x[n, k] + load(of_one[0, k]) if len(of_one) > 0 else x[n, k], out[n, k])


@njit(nogil=True, error_model="numpy", fastmath=SUMS)
def _sum_columns(x: np.ndarray, out: np.ndarray) -> None:
    """Write the sums over rows of x (N, K) into (K,), which need not lie next to each other."""
    for k in range(len(out)):
        out[k] = 0
    for n in range(len(x)):
        row = x[n]
        for k in range(len(row)):
            out[k] += load(row[k])


@njit(nogil=True, error_model="numpy", fastmath=SUMS)
def _subtract(x: np.ndarray, along: np.ndarray) -> float:
    """Subtract float32 `along` from x (N, C), an array of `bits`. Return the sum of squares of what is left."""
    total = 0.0
    for n in range(len(x)):
        row, of_row, squares = x[n], along[n], np.float32(0)
        for i in range(len(row)):
            left = store(load(row[i]) - of_row[i], row[i])
            row[i] = left
            squares += load(left) * load(left)
        total += float(squares)
    return total
