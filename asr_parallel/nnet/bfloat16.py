"""Numbers of bfloat16 in compiled functions, which do not know the type: its bits, the upper half of a float32."""

from typing import Any

import numpy as np
import torch
from numba import types
from numba.extending import overload
from torch import Tensor

from asr_parallel.record.compiled import njit


def bits(tensor: Tensor) -> np.ndarray:
    """Return the memory of a tensor on the CPU as NumPy has it: float32, or the bits of bfloat16, uint16."""
    array: np.ndarray = (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array


@njit(nogil=True)
def _widened(word: Any) -> Any:
    return np.uint32(np.uint32(word) << np.uint32(16)).view(np.float32)


@njit(nogil=True)
def _rounded(x: Any) -> Any:
    """Return the bits of the nearest bfloat16, an even one from the middle; NaN stays NaN."""
    word = np.float32(x).view(np.uint32)
    even = np.uint32(0x7FFF) + (np.uint32(word >> np.uint32(16)) & np.uint32(1))
    nearest = np.uint32(np.uint32(word + even) >> np.uint32(16))
    return np.uint16(nearest if x == x else np.uint32(0x7FC0))


def load(x: Any) -> Any:
    """Return a number of an array of `bits` as float32."""
    return _widened(x) if isinstance(x, np.integer) else x


def store(x: Any, like: Any) -> Any:
    """Return a float32 as a number of an array of `bits` is, `like` one of them."""
    return _rounded(x) if isinstance(like, np.integer) else np.float32(x)


@overload(load)
def _load_compiled(x):  # type: ignore[no-untyped-def]  # numba compares the signatures
    if isinstance(x, types.Integer):
        return lambda x: _widened(x)
    return lambda x: x


@overload(store)
def _store_compiled(x, like):  # type: ignore[no-untyped-def]
    if isinstance(like, types.Integer):
        return lambda x, like: _rounded(x)
    return lambda x, like: np.float32(x)
