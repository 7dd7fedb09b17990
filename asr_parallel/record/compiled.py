"""Functions compiled by numba, whose machine code is kept for the next run."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.config import reload_config

from asr_parallel.record.caches import home_is_known, temporary_folder


def njit(**options: Any) -> Callable[[Callable], Any]:
    """Return numba.njit with a cache: beside the module, at home, in a temporary folder, or none where nothing can be
    written."""

    def compiled(function: Callable) -> Any:
        if not os.environ.get("NUMBA_CACHE_DIR") and not home_is_known():
            _keep_in(temporary_folder())
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # numba has found no place
            folder = temporary_folder()
        _keep_in(folder)
        return numba.njit(cache=folder is not None, **options)(function)

    return compiled


def _keep_in(folder: Path | None) -> None:
    if folder is not None:
        os.environ["NUMBA_CACHE_DIR"] = str(folder / "numba")
        reload_config()
