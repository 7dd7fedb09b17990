"""Environment variables that libraries read when they are imported; to be set before."""

import atexit
import os
import shutil
import stat
import tempfile
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path


def set_up_libraries(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set variables that the user has not, or that name a home which is none, as in containers.

    OMP_WAIT_POLICY: threads that wait for others sleep. Those of libgomp, which torch uses, would spin for a
        millisecond and so take the cores from each other's and from other processes' work.
    HOME: numba's machine code, matplotlib's fonts and lhotse's tools go there.
    """
    if "GOMP_SPINCOUNT" not in environment:
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    home = Path(os.path.expanduser(environment.get("HOME") or "~"))  # noqa: PTH111 - raises where there is none
    while home.is_absolute() and not home.exists():  # it can be made where the folder above can be written
        home = home.parent
    if not home.is_absolute() or not os.access(home, os.W_OK | os.X_OK):
        environment["HOME"] = str(temporary_folder() or "/")


def temporary_folder() -> Path | None:
    """Return a folder of this user alone, the same in every run where that is safe; None: nothing can be written.

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
