"""Functions compiled by numba, whose machine code is kept for the next run."""

from collections.abc import Callable
from typing import Any

import numba


def njit(**options: Any) -> Callable[[Callable], Any]:
    """Return numba.njit with a cache beside the module or at home; without one where neither can be written."""

    def compiled(function: Callable) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # numba has found no place
            return numba.njit(**options)(function)

    return compiled
