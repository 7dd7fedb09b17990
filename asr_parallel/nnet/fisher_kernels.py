"""Elementwise work of an update of the Fisher estimate on a CPU, compiled by numba.

The plain version of all of it is in nnet/fisher.py, whose table gives the names; R is the number of estimates, K the
rank, D the dimensions.
"""

import numpy as np

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
