"""Matrix products in compiled functions, by the routines of the BLAS that torch brings.

torch for x86-64 Linux contains Intel's oneMKL. Compiled functions call its routines by name, with no Python between one
product and the next. Its bfloat16 products have a float32 result, which torch's on a CPU do not; they are used on
processors with AMX, where they were measured.
"""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llvmlite import binding
from numba import types
from numba.extending import overload

from asr_parallel.record.compiled import njit

# Fortran interface: all arguments by address. oneMKL Developer Reference, gemm and gemm_bf16bf16f32
_ROUTINES = {torch.float32: "sgemm_", torch.bfloat16: "gemm_bf16bf16f32_"}
_OURS = "asr_parallel_"  # before their names in compiled code: other libraries have routines of these names
_SIGNATURE = types.void(*[types.uintp] * 13)
_gemm_float32: Any = types.ExternalFunction(_OURS + _ROUTINES[torch.float32], _SIGNATURE)
_gemm_bfloat16: Any = types.ExternalFunction(_OURS + _ROUTINES[torch.bfloat16], _SIGNATURE)
_AS_STORED, _TRANSPOSED = 78, 84  # "N" and "T"


def _declare_routines() -> frozenset[torch.dtype]:
    """Tell the compiler where the routines are. Return the types of those that are there and worth using."""
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
    except OSError:  # another system than Linux
        return frozenset()
    able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch has none
    found = set()
    for dtype, name in _ROUTINES.items():
        if hasattr(library, name) and (dtype == torch.float32 or able.get("amx_bf16", False)):
            address = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
            binding.add_symbol(_OURS + name, address)
            found.add(dtype)
    return frozenset(found)


FAST_TYPES = _declare_routines()  # whose products `multiply` computes on this machine


@njit(nogil=True)
def multiply(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Write a (n, k) b (k, m) into float32 `out` (n, m), for arrays of `bits` of one type.

    The rows or the columns of a and b lie next to each other in memory, and the rows of `out`.
    """
    assert by_rows(out)
    if a.shape[1] == 0:
        out.fill(0)
        return
    # The routine has matrices by columns: for it all three are transposed, and the product is that of b and a.
    sizes, factors, orders = np.empty(6, dtype=np.int32), np.empty(2, dtype=np.float32), np.empty(2, dtype=np.uint8)
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
    routine = _gemm_bfloat16 if isinstance(a.dtype, types.Integer) else _gemm_float32

    def call(orders, sizes, factors, b, a, out):  # type: ignore[no-untyped-def]  # all in the caller's hands till it ends
        order, size, factor = np.uintp(orders.ctypes.data), np.uintp(sizes.ctypes.data), np.uintp(factors.ctypes.data)
        routine(
            order, order + 1, size, size + 4, size + 8, factor, np.uintp(b.ctypes.data), size + 12,
            np.uintp(a.ctypes.data), size + 16, factor + 4, np.uintp(out.ctypes.data), size + 20,
        )  # fmt: skip

    return call


@njit(nogil=True)
def by_rows(x: np.ndarray) -> bool:
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
