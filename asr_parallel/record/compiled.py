"""The decorator njit: compilation by numba with a cache on disk."""

import re
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numba

_PACKAGE = __name__.partition(".")[0]
_IMPORT = re.compile(rf"^from ({_PACKAGE}[.\w]*) import", re.MULTILINE)


def njit(**options: Any) -> Callable[[Callable], Any]:
    """Return numba.njit with its cache on disk, or without a cache where numba can write none.

    A function is compiled anew when its file changed or one that this imports functions or constants from. numba alone
    looks at its own file.
    """

    def compiled(function: Callable) -> Any:
        if getattr(numba.config, "DISABLE_JIT", 0):  # NUMBA_DISABLE_JIT=1, for a debugger
            return function
        try:
            dispatcher = numba.njit(cache=True, **options)(function)
        except RuntimeError:  # numba found no writable cache folder
            return numba.njit(**options)(function)
        index = dispatcher._cache._cache_file
        # numba compares the version before it unpickles the index, which fails when a class of the arguments is gone
        index._version = (index._version, index._source_stamp, stamps(Path(function.__code__.co_filename)))
        return dispatcher

    return compiled


def stamps(path: Path) -> list[tuple[str, int, int]]:
    """Return name, time of the last change and size of the package's files that a file of compiled functions imports.

    And of those that these import, where they have compiled functions themselves.
    """
    found: set[Path] = set()
    left = [path]
    while left:
        for imported in _imported(left.pop()) - found:
            found.add(imported)
            if _has_compiled(imported):
                left.append(imported)
    return [(str(one), one.stat().st_mtime_ns, one.stat().st_size) for one in sorted(found)]


@cache
def _imported(path: Path) -> frozenset[Path]:
    specs = [find_spec(name) for name in _IMPORT.findall(path.read_text(encoding="utf-8"))]
    return frozenset(Path(one.origin) for one in specs if one is not None and one.origin is not None)


@cache
def _has_compiled(path: Path) -> bool:
    return f"from {__name__} import" in path.read_text(encoding="utf-8")
