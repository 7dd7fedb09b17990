"""The decorator njit: compilation by numba with a cache on disk."""

from collections.abc import Callable
from typing import Any

import numba


def njit(**options: Any) -> Callable[[Callable], Any]:
    """Return numba.njit with its cache on disk, or without a cache where numba can write none."""

    def compiled(function: Callable) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # numba found no writable cache folder
            return numba.njit(**options)(function)

    return compiled
