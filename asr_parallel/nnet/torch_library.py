"""Routines of the library that torch brings for the CPU, made known to compiled functions by name."""

import ctypes
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numba
import torch
from llvmlite import binding

PREFIX = "asr_parallel_"  # before their names in compiled code: other libraries have routines of these names


def declare(symbol: str) -> bool:
    """Tell the compiler where a routine is, as PREFIX + symbol.

    Returns:
        False where it is not there, or where nothing is compiled (NUMBA_DISABLE_JIT).
    """
    library = _library()
    if library is None or not hasattr(library, symbol) or getattr(numba.config, "DISABLE_JIT", False):
        return False
    binding.add_symbol(PREFIX + symbol, ctypes.cast(getattr(library, symbol), ctypes.c_void_p).value)
    return True


def capable(name: str) -> bool:
    """Return whether torch names this capability of the processor, such as "amx_bf16" or "avx512_bf16"."""
    able: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch has none
    return bool(able.get(name, False))


@cache
def _library() -> ctypes.CDLL | None:
    """Return the library if it has Intel's oneMKL: the routines of others expect further arguments, or wider ones."""
    if not torch.backends.mkl.is_available():
        return None
    try:
        return ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
    except OSError:  # another system than Linux
        return None
