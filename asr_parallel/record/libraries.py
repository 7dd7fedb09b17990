"""Environment variables that libraries read on import, to be set before it."""

import atexit
import os
import shutil
import stat
import tempfile
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path


def set_up_libraries(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set variables that the user has not set, and HOME where it is not writable, as in containers.

    OMP_WAIT_POLICY: waiting threads sleep. Those of libgomp, which torch uses, would otherwise busy-wait for a
        millisecond and take cores from other work.
    HOME: location of the caches of numba, matplotlib and lhotse.
    """
    if "GOMP_SPINCOUNT" not in environment:
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    home = Path(os.path.expanduser(environment.get("HOME") or "~"))  # noqa: PTH111 - raises where there is none
    while home.is_absolute() and not home.exists():  # it can be made where the folder above can be written
        home = home.parent
    if not home.is_absolute() or not os.access(home, os.W_OK | os.X_OK):
        environment["HOME"] = str(temporary_folder() or "/")


def temporary_folder() -> Path | None:
    """Return a private folder of this user, the same in every run where that is safe; None: none is writable.

    numba's cache holds code, so a folder that others own or can write to is not used.
    """
    with suppress(OSError):  # e.g. another user's
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
