"""Where libraries keep their caches, where the home folder and the installation cannot be written, as in containers."""

import atexit
import os
import shutil
import stat
import tempfile
from collections.abc import MutableMapping
from contextlib import suppress
from functools import cache
from pathlib import Path


def set_up_libraries(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set what libraries read from the environment when they are imported, where the user has set nothing.

    OMP_WAIT_POLICY: threads that wait for others sleep. Those of libgomp, which torch uses, would spin for a
        millisecond and so take the cores from each other's and from other processes' work.
    MPLCONFIGDIR: matplotlib's fonts, in a temporary folder where it cannot keep them at home.
    """
    if "GOMP_SPINCOUNT" not in environment:
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    homes = [environment.get(name) or str(Path("~", own).expanduser()) for name, own in _MATPLOTLIB]
    if "MPLCONFIGDIR" not in environment and not all(map(_can_be_written, homes)):
        folder = temporary_folder()
        if folder is not None:
            environment["MPLCONFIGDIR"] = str(folder / "matplotlib")


_MATPLOTLIB = (("XDG_CONFIG_HOME", ".config"), ("XDG_CACHE_HOME", ".cache"))  # it asks for both


def home_is_known() -> bool:
    """Whether there is a home folder; numba would make one called "~" for a user of no name and no HOME."""
    return Path("~").expanduser().is_absolute()


def _can_be_written(folder: str) -> bool:
    path = Path(folder)
    while not path.exists() and path != path.parent:
        path = path.parent
    return path.is_absolute() and os.access(path, os.W_OK | os.X_OK)


@cache
def temporary_folder() -> Path | None:
    """A folder of this user alone, the same in every run where that is safe; None: nothing can be written anywhere.

    numba's cache holds code, so one that others can write to, or have made, is not taken.
    """
    with suppress(OSError):  # somebody else's, perhaps
        user = os.geteuid()
        folder = Path(tempfile.gettempdir()) / f"asr-parallel-{user}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o077:
            tempfile.TemporaryFile(dir=folder).close()
            return folder
    try:
        private = Path(tempfile.mkdtemp(prefix="asr-parallel-"))
    except OSError:
        return None
    atexit.register(shutil.rmtree, private, ignore_errors=True)
    return private
