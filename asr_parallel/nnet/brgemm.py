"""bfloat16 products in compiled functions by torch's kernels for small matrices, with a float32 result.

Processors with AVX512-BF16 multiply pairs of bfloat16 numbers, so a right factor has its rows in pairs: `in_pairs`. It
is brought into that order once for several products. torch calls the kernels "brgemm" (aten/src/ATen/native/CPUBlas.h,
of oneDNN). They have a C++ name with the types of their arguments in it: another torch has the same function or none.
"""

import os
from typing import Any

import numpy as np
import torch
from numba import types
from numba.extending import overload

from asr_parallel.nnet.blas import by_rows, multiply, stride
from asr_parallel.nnet.torch_library import PREFIX, capable, declare
from asr_parallel.record.compiled import njit

# void at::native::cpublas::brgemm(int64_t M, int64_t N, int64_t K, int64_t ld_a, int64_t ld_b, int64_t ld_c,
#                                  bool add_C, const BFloat16* A, const BFloat16* B, float* C, bool is_vnni)
_SYMBOL = "_ZN2at6native7cpublas6brgemmEllllllbPKN3c108BFloat16ES5_Pfb"
_brgemm: Any = types.ExternalFunction(PREFIX + _SYMBOL, types.void(*[types.intp] * 11))

_LEAST_TORCH = (2, 13)  # the version that was tried: where it cannot multiply it throws, which would end the process
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")  # environment variables that forbid oneDNN some instructions


def _available() -> bool:
    """Return whether the kernels are there and worth using; with AMX oneMKL's products, `blas.multiply`, are used."""
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    able = capable("avx512_bf16") and not capable("amx_bf16") and not any(name in os.environ for name in _LIMITS)
    return able and version >= _LEAST_TORCH and declare(_SYMBOL)


AVAILABLE = _available()


def usable() -> bool:
    """Return whether products of pairs can be called now: they are of oneDNN, which can be switched off."""
    return AVAILABLE and bool(torch.backends.mkldnn.enabled)


@njit(nogil=True)
def in_pairs(x: np.ndarray, out: np.ndarray) -> None:
    """Write x (K, N) of bits into `out` (ceil(K / 2), N, 2), rows 2k and 2k + 1 side by side; after the last, zeros."""
    for k in range(len(out)):
        first, into = x[2 * k], out[k]
        if 2 * k + 1 < len(x):
            second = x[2 * k + 1]
            for n in range(len(first)):
                into[n, 0], into[n, 1] = first[n], second[n]
        else:
            for n in range(len(first)):
                into[n, 0], into[n, 1] = first[n], 0


@njit(nogil=True)
def multiply_pairs(a: np.ndarray, b: np.ndarray, out: np.ndarray, add: bool) -> None:
    """Write a (M, K) b into float32 `out` (M, N), or add it to what is there, for b (ceil(K / 2), N, 2) `in_pairs`.

    The numbers of a row of a and of `out` lie next to each other.
    """
    assert by_rows(a) and by_rows(out)
    assert len(b) == (a.shape[1] + 1) // 2 and len(out) == len(a) and out.shape[1] == b.shape[1]
    _call(a, b, out, add)


def _call(a: np.ndarray, b: np.ndarray, out: np.ndarray, add: bool) -> None:
    raise NotImplementedError("for compiled functions alone")


@overload(_call)
def _call_compiled(a, b, out, add):  # type: ignore[no-untyped-def]  # numba compares the signatures
    def call(a, b, out, add):  # type: ignore[no-untyped-def]
        _brgemm(
            a.shape[0], b.shape[1], a.shape[1], stride(a), b.shape[1], stride(out),
            np.intp(add), np.intp(a.ctypes.data), np.intp(b.ctypes.data), np.intp(out.ctypes.data), 1,
        )  # fmt: skip

    return call


def times(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Write a b into float32 `out`: for b (K, M) as `blas.multiply`, for b (ceil(K / 2), M, 2) as `multiply_pairs`."""
    raise NotImplementedError("for compiled functions alone")


@overload(times)
def _times_compiled(a, b, out):  # type: ignore[no-untyped-def]
    if b.ndim == 3:
        return lambda a, b, out: multiply_pairs(a, b, out, False)
    return lambda a, b, out: multiply(a, b, out)
