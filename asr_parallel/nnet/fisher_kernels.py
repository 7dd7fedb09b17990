"""The Fisher estimate on a CPU, compiled by numba: minibatches preconditioned, and its updates.

The plain version of all of it is in nnet/fisher.py, whose table gives the names; R is the number of estimates, N the
rows, K the rank, D the dimensions.
"""

import numpy as np
from numba.extending import overload

from asr_parallel.nnet.bfloat16 import load, store
from asr_parallel.nnet.blas import eigh, multiply
from asr_parallel.nnet.brgemm import in_pairs, multiply_pairs, times
from asr_parallel.nnet.kernels import SUMS, ones_left, sum_of_squares
from asr_parallel.record.compiled import njit


@njit(nogil=True, error_model="numpy")
def update(
    J: np.ndarray, W: np.ndarray, rho: np.ndarray, d: np.ndarray, squares: np.ndarray, share: float, keep: float,
    alpha: float, delta: float, epsilon: float, noise: float, clean: np.ndarray, memory: tuple[np.ndarray, ...],
) -> None:  # fmt: skip
    """Move the estimates W (R, K, D), rho (R,) and d (R, K), float32, but those of which a direction is noise.

    An estimate whose next one is not finite stays as it is.

    Plain version: FisherEstimate.toward, an eigen-decomposition and FisherEstimate.adopt.

    Args:
        J: (R, K, D) float32.
        W, rho, d: see above.
        squares: (R,) float32, tr(x x^T).
        share: eta / N.
        keep: 1 - eta.
        alpha, delta, epsilon, noise: see FisherEstimate.
        clean: (R,) bool, written: False where a direction is noise, and nothing was changed.
        memory: float64, from torch: (K, D) twice, (K, K) twice, and `eigh_work(K)` numbers.
    """
    replicas, rank, dim = W.shape
    Y, next_W, Z, turn, work = memory
    c, next_d, length = np.empty(rank), np.empty(rank), np.empty(rank)
    for r in range(replicas):
        unit = _toward(J[r], W[r], rho[r], d[r], squares[r], share, keep, alpha, Y)
        _symmetric_product(Y, Z)
        clean[r] = True
        if not np.isfinite(Z.sum()):
            continue
        floor = (keep * float(rho[r]) / unit) ** 2
        clean[r] = eigh(Z, c, work) and c[0] > noise * c[rank - 1]
        if not clean[r]:
            continue
        next_rho = unit * _next_variances(c, floor, alpha, delta, epsilon / unit, dim, next_d, length)
        for k in range(rank):
            turn[k] = Z[rank - 1 - k] * length[k]
        multiply(turn, Y, next_W)
        if np.isfinite(np.float32(next_rho + unit * next_d.sum() + next_W.sum())):
            rho[r] = next_rho
            for k in range(rank):
                d[r, k] = unit * next_d[k]
                W[r, k] = next_W[k]


@njit(nogil=True, error_model="numpy")
def _toward(
    J: np.ndarray, W: np.ndarray, rho: float, d: np.ndarray, squares: float, share: float, keep: float, alpha: float,
    Y: np.ndarray,
) -> float:  # fmt: skip
    """Write Y (K, D) float64 of an estimate and return its unit, tr(T)."""
    rank, dim = W.shape
    sum_d, own = 0.0, float(rho)
    for k in range(rank):
        sum_d += float(d[k])
    unit = share * float(squares) + keep * (dim * own + sum_d)
    beta = own * (1 + alpha) + alpha / dim * sum_d
    for k in range(rank):
        deviation = float(d[k])
        factor = np.sqrt(beta / deviation + 1) / unit
        old, new = keep * (deviation + own) * factor, share * factor
        for i in range(dim):
            Y[k, i] = new * float(J[k, i]) + old * float(W[k, i])
    return unit  # type: ignore[no-any-return]  # NumPy's types


@njit(nogil=True, error_model="numpy")
def _symmetric_product(Y: np.ndarray, Z: np.ndarray) -> None:
    """Write Y (K, D) Y^T into Z (K, K), on and below the diagonal; above it are numbers of no meaning."""
    half = len(Y) // 2
    Z[:half, half:] = 0
    if half > 0:
        multiply(Y[:half], Y[:half].T, Z[:half, :half])
    multiply(Y[half:], Y.T, Z[half:])


@njit(nogil=True, error_model="numpy")
def _next_variances(
    c: np.ndarray, floor: float, alpha: float, delta: float, epsilon: float, dim: int, d: np.ndarray,
    length: np.ndarray,
) -> float:  # fmt: skip
    """Return the next rho and write the next d (K,) and sqrt(E / C) (K,), in units of tr(T).

    c: (K,) eigenvalues in ascending order; those returned are in descending order. floor: of c.
    """
    rank, total = len(c), 0.0
    for k in range(rank):
        d[k] = np.sqrt(max(c[rank - 1 - k], floor))
        total += d[k]
    rho = (1 - total) / (dim - rank)
    least = max(delta * d[0], epsilon)
    sum_d = 0.0
    for k in range(rank):
        d[k] = max(d[k] - rho, least)
        sum_d += d[k]
    rho = max(rho, least)
    beta = rho * (1 + alpha) + alpha / dim * sum_d
    for k in range(rank):
        length[k] = np.sqrt(1 / ((beta / d[k] + 1) * c[rank - 1 - k]))
    return rho  # type: ignore[no-any-return]  # likewise


@njit(nogil=True, error_model="numpy")
def thin_in_pairs(W: np.ndarray, to_H: np.ndarray, from_H: np.ndarray) -> None:
    """Write W (R, K, C) of bits, `in_pairs`, as the right factor of x W^T and that of H W.

    Args:
        W: see above.
        to_H: (R, ceil(C / 2), K, 2).
        from_H: (R, ceil(K / 2), C, 2).
    """
    for r in range(len(W)):
        in_pairs(W[r].T, to_H[r])
        in_pairs(W[r], from_H[r])


@njit(nogil=True, error_model="numpy")
def precondition(
    x: np.ndarray, to_H: np.ndarray, from_H: np.ndarray, of_one: np.ndarray, product: np.ndarray, H: np.ndarray,
    J: np.ndarray, ones: np.ndarray, before: np.ndarray, after: np.ndarray,
) -> None:  # fmt: skip
    """Make minibatches x (R, N, C) their y; write J, the preconditioned appended ones, and sums of squares with them.

    Rows are taken by as many as H has: what is read and written again is still in the cache.

    Plain version: FisherEstimate.plain_process.

    Args:
        x: as to_H, from_H, of_one and H an array of `bits`.
        to_H: (R, C, K), W^T without the row for the appended 1; or `in_pairs`, (R, ceil(C / 2), K, 2).
        from_H: (R, K, C), W; or `in_pairs`.
        of_one: (R, 1, K), that row; (R, 0, K): nothing is appended.
        product: memory, float32, at least B * max(K, C).
        H: memory, (1, B, K), for B rows at a time.
        J: (R, K, D) float32; (0, K, D): it is not wanted.
        ones: (R, N, 1) float32; (R, 0, 1): nothing is appended.
        before: (R,) float32, of x and the appended ones.
        after: (R,) float32, of what is left of both.
    """
    rows, columns, rank, has_ones = x.shape[1], x.shape[2], H.shape[2], of_one.shape[1] > 0
    most = H.shape[1]
    for r in range(len(x)):
        if rows == 0 or rank == 0:
            before[r] = sum_of_squares(x[r].reshape(-1)) + (rows if has_ones else 0)
            after[r] = before[r]
            J.fill(0)
            ones.fill(1)
            continue
        squares, squares_left = 0.0, 0.0
        for start in range(0, rows, most):
            part = x[r, start : start + most]
            squares += sum_of_squares(part.reshape(-1))
            of_part = H[:, : len(part)]
            projected = product[: len(part) * rank].reshape((len(part), rank))
            times(part, to_H[r], projected)
            _add_and_round(projected, of_one[r], of_part[0])
            if len(J) > 0:
                _correlate(of_part[0], part, from_H[r], J[r, :, :columns], start > 0)
                if has_ones:
                    _sum_columns(of_part[0], J[r, :, columns], start > 0)
            along = product[: len(part) * columns].reshape((len(part), columns))
            times(of_part[0], from_H[r], along)
            squares_left += _subtract(part, along)
            if has_ones:
                left = ones[r : r + 1, start : start + most]
                ones_left(of_part, of_one[r : r + 1], left)
                squares_left += sum_of_squares(left[0, :, 0])
        before[r] = squares + (rows if has_ones else 0)
        after[r] = squares_left


def _correlate(H: np.ndarray, x: np.ndarray, like: np.ndarray, J: np.ndarray, add: bool) -> None:
    """Write H^T x, for H (N, K) and x (N, C), into float32 J (K, C), or add it; by pairs if `like` is so."""
    raise NotImplementedError("for compiled functions alone")


@overload(_correlate)
def _correlate_compiled(H, x, like, J, add):  # type: ignore[no-untyped-def]  # numba compares the signatures
    def by_pairs(H, x, like, J, add):  # type: ignore[no-untyped-def]
        pairs = np.empty(((len(x) + 1) // 2, x.shape[1], 2), dtype=x.dtype)
        in_pairs(x, pairs)
        multiply_pairs(np.ascontiguousarray(H.T), pairs, J, add)

    def at_once(H, x, like, J, add):  # type: ignore[no-untyped-def]
        assert not add
        multiply(H.T, x, J)

    return by_pairs if like.ndim == 3 else at_once


@njit(nogil=True, error_model="numpy", fastmath=SUMS)
def _add_and_round(x: np.ndarray, of_one: np.ndarray, out: np.ndarray) -> None:
    """Write x (N, K), plus of_one (1, K) or (0, K), into an array of `bits`."""
    for n in range(len(x)):
        for k in range(x.shape[1]):
            out[n, k] = store(x[n, k] + load(of_one[0, k]) if len(of_one) > 0 else x[n, k], out[n, k])


@njit(nogil=True, error_model="numpy", fastmath=SUMS)
def _sum_columns(x: np.ndarray, out: np.ndarray, add: bool) -> None:
    """Write the sums over rows of x (N, K) into (K,), which need not lie next to each other, or add them."""
    for k in range(0 if add else len(out)):
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
