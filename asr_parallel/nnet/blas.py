"""Matrix products and eigenvalues in compiled functions, by the routines of the BLAS and LAPACK that torch brings.

torch for x86-64 Linux contains Intel's oneMKL. Compiled functions call its routines by name, with no Python between one
product and the next. Its bfloat16 products have a float32 result, which torch's on a CPU do not; they are used on
processors with AMX, where they were measured.
"""

from typing import Any

import numpy as np
import torch
from numba import types
from numba.extending import overload

from asr_parallel.nnet.torch_library import PREFIX, capable, declare
from asr_parallel.record.compiled import njit

# Fortran interface: all arguments by address. oneMKL Developer Reference, gemm, gemm_bf16bf16f32 and syevd
_ROUTINES = {torch.float32: "sgemm_", torch.bfloat16: "gemm_bf16bf16f32_", torch.float64: "dgemm_"}
_EIGH = "dsyevd_"
_SIGNATURE = types.void(*[types.uintp] * 13)
_gemm_float32: Any = types.ExternalFunction(PREFIX + _ROUTINES[torch.float32], _SIGNATURE)
_gemm_bfloat16: Any = types.ExternalFunction(PREFIX + _ROUTINES[torch.bfloat16], _SIGNATURE)
_gemm_float64: Any = types.ExternalFunction(PREFIX + _ROUTINES[torch.float64], _SIGNATURE)
_dsyevd: Any = types.ExternalFunction(PREFIX + _EIGH, types.void(*[types.uintp] * 11))
_AS_STORED, _TRANSPOSED = 78, 84  # "N" and "T"
_VECTORS, _UPPER = 86, 85  # "V" and "U"


def _declare_routines() -> frozenset[torch.dtype]:
    """Return the types of the products that are there and worth using."""
    without = set() if capable("amx_bf16") else {torch.bfloat16}
    return frozenset(dtype for dtype, name in _ROUTINES.items() if dtype not in without and declare(name))


# Types whose products `multiply` computes on this machine; whether `eigh` and float64 products are there
FAST_TYPES = _declare_routines()
HAS_EIGH = declare(_EIGH) and torch.float64 in FAST_TYPES


@njit(nogil=True)
def multiply(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Write a (n, k) b (k, m) into `out` (n, m), for arrays of `bits` of one type; float64 for float64, else float32.

    The rows or the columns of a and b lie next to each other in memory, and the rows of `out`.
    """
    assert by_rows(out) and a.shape[1] == b.shape[0] and len(out) == len(a) and out.shape[1] == b.shape[1]
    if a.shape[1] == 0:
        out.fill(0)
        return
    # The routine has matrices by columns: for it all three are transposed, and the product is that of b and a.
    sizes, factors, orders = np.empty(6, dtype=np.int32), np.empty(2, dtype=out.dtype), np.empty(2, dtype=np.uint8)
    sizes[0], sizes[1], sizes[2] = out.shape[1], out.shape[0], a.shape[1]
    sizes[3], sizes[4], sizes[5] = stride(b), stride(a), stride(out)
    factors[0], factors[1] = 1, 0  # of the product, and of what `out` has
    orders[0], orders[1] = _order(b), _order(a)
    _gemm(orders, sizes, factors, b, a, out)


def _gemm(
    orders: np.ndarray, sizes: np.ndarray, factors: np.ndarray, b: np.ndarray, a: np.ndarray, out: np.ndarray
) -> None:
    raise NotImplementedError("for compiled functions alone")


@overload(_gemm)
def _gemm_compiled(orders, sizes, factors, b, a, out):  # type: ignore[no-untyped-def]  # numba compares the signatures
    routine = _gemm_float64 if a.dtype == types.float64 else _gemm_float32
    routine = _gemm_bfloat16 if isinstance(a.dtype, types.Integer) else routine

    def call(orders, sizes, factors, b, a, out):  # type: ignore[no-untyped-def]  # all in the caller's hands till it ends
        order, size, factor = np.uintp(orders.ctypes.data), np.uintp(sizes.ctypes.data), np.uintp(factors.ctypes.data)
        routine(
            order, order + 1, size, size + 4, size + 8, factor, np.uintp(b.ctypes.data), size + 12,
            np.uintp(a.ctypes.data), size + 16, factor + factors.itemsize, np.uintp(out.ctypes.data), size + 20,
        )  # fmt: skip

    return call


@njit(nogil=True)
def by_rows(x: np.ndarray) -> bool:
    """Return whether the numbers of a row lie next to each other."""
    return x.shape[1] == 1 or x.strides[1] == x.itemsize


@njit(nogil=True)
def _order(x: np.ndarray) -> int:
    return _AS_STORED if by_rows(x) else _TRANSPOSED


@njit(nogil=True)
def stride(x: np.ndarray) -> Any:
    """Return the numbers from one row, or column, to the next; of a single one its length, whatever x has there."""
    if by_rows(x):
        return max(x.strides[0] // x.itemsize, x.shape[1])
    return max(x.strides[1] // x.itemsize, x.shape[0])


@njit(nogil=True)
def eigh_work(n: int) -> int:
    """Return the numbers that `eigh` needs in `work` for (n, n); oneMKL Developer Reference, syevd."""
    return 1 + 6 * n + 2 * n * n


@njit(nogil=True)
def eigh(Z: np.ndarray, c: np.ndarray, work: np.ndarray) -> bool:
    """Write the eigenvalues of symmetric float64 Z (n, n), in ascending order, into c (n,), the vectors into Z's rows.

    The lower triangle of Z is read. `torch.linalg.eigh` has the vectors in columns. work: memory, float64, of
    `eigh_work(n)` numbers.

    Returns:
        False when the algorithm did not converge.
    """
    assert Z.strides[1] == Z.itemsize and Z.strides[0] == Z.itemsize * len(Z)
    n = len(Z)
    sizes, whole, job = np.empty(5, dtype=np.int32), np.empty(3 + 5 * n, dtype=np.int32), np.empty(2, dtype=np.uint8)
    assert len(c) == n and len(work) >= eigh_work(n)
    sizes[0], sizes[1], sizes[2], sizes[3] = n, len(work), len(whole), 0
    job[0], job[1] = _VECTORS, _UPPER  # for the routine, which has matrices by columns, the lower one is the upper one
    _eigh(job, sizes, Z, c, work, whole)
    return bool(sizes[3] == 0)


def _eigh(
    job: np.ndarray, sizes: np.ndarray, Z: np.ndarray, c: np.ndarray, work: np.ndarray, whole: np.ndarray
) -> None:
    raise NotImplementedError("for compiled functions alone")


@overload(_eigh)
def _eigh_compiled(job, sizes, Z, c, work, whole):  # type: ignore[no-untyped-def]
    def call(job, sizes, Z, c, work, whole):  # type: ignore[no-untyped-def]
        size, of_job = np.uintp(sizes.ctypes.data), np.uintp(job.ctypes.data)
        _dsyevd(
            of_job, of_job + 1, size, np.uintp(Z.ctypes.data), size, np.uintp(c.ctypes.data),
            np.uintp(work.ctypes.data), size + 4, np.uintp(whole.ctypes.data), size + 8, size + 12,
        )  # fmt: skip

    return call
