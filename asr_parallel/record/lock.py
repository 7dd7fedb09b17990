"""A lock on building a folder: a file beside it, released by the system when its holder exits."""

import errno
import fcntl
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache
from pathlib import Path

from asr_parallel.record.files import resolve_links
from asr_parallel.record.log import logger

NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT)
HELD = (errno.EACCES, errno.EAGAIN)  # POSIX allows both
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)  # some network file systems
WRITING_SECONDS = 0.5  # time a holder may need between taking the lock and writing its name


def output_folder(path: Path) -> Path:
    """Return the folder that `path` names, symbolic links resolved; it need not exist.

    Raises:
        ValueError: it is the current folder or one above it, which no result may take the place of, or links in a ring.
    """
    folder, here = resolve_links(path), Path.cwd()
    if folder.is_symlink():
        raise ValueError(f"{path}: symbolic links that lead to each other; expected the name of a folder to make")
    if folder == here or folder in here.parents or len(folder.parts) == 1:
        raise ValueError(f"{path}: the current folder or one above it; expected the name of a folder to make")
    return folder


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the lock `.NAME.lock` beside `out`. The file names the holder and is removed at the end.

    The lock is a POSIX record lock: it is released when its process exits, forked processes do not inherit it, and it
    works between machines that share a disk, but not between threads of one process. Where `out` cannot be written,
    nothing is locked, without a warning.

    Raises:
        ValueError: another process holds it; names that process and its machine.
    """
    folder = output_folder(out)
    path = folder.with_name(f".{folder.name}.lock")
    missing = [parent for parent in path.parents if not parent.exists()]
    handle = _acquire(out, path)
    try:
        yield
    finally:
        if handle is not None:
            path.unlink(missing_ok=True)  # while it is held: a waiting process sees that the file was replaced
            os.close(handle)
            with suppress(OSError):  # not empty
                for parent in missing:
                    parent.rmdir()


def _acquire(out: Path, path: Path) -> int | None:
    while True:
        made = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            made = True
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if error.errno == errno.ENOENT and made and not path.parent.exists():
                continue  # its last holder has just removed the folder
            if error.errno not in NOT_WRITABLE:
                raise
            logger.debug("%s: not locked: %s", out, error.strerror)
            return None
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _holder(handle) if error.errno in HELD else ""
            os.close(handle)
            if error.errno in HELD:
                raise ValueError(f"{out}: {holder} is making it; wait for that to end, or stop it") from error
            if error.errno not in NO_LOCKS:
                raise
            path.unlink(missing_ok=True)
            _warn_no_locks(path.parent)
            return None
        if _is_at(path, handle):
            try:
                _write_holder(handle)
            except OSError as error:  # e.g. a full disk; others then report "another process"
                logger.debug("%s: %s", path, error)
            return handle
        os.close(handle)  # its last holder has just removed it


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _write_holder(handle: int) -> None:
    holder = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
    }
    if os.fstat(handle).st_uid == os.geteuid():
        os.fchmod(handle, 0o666)  # others who may write the folder must be able to lock it too
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(holder).encode() + b"\n", 0)


def _holder(handle: int) -> str:
    deadline = time.monotonic() + WRITING_SECONDS
    while True:
        try:
            found = json.loads(os.pread(handle, 1 << 16, 0))
            return f"process {found['pid']} on {found['host']}, started {found['since']},"
        except (ValueError, KeyError, TypeError):
            if time.monotonic() > deadline:
                return "another process"
        time.sleep(0.01)


@cache
def _warn_no_locks(folder: Path) -> None:
    """Warn once for each folder."""
    logger.warning("%s: this file system has no locks; see to it that no two runs write the same folder", folder)
