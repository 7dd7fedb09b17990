"""Digests of files by name, size and content, not by time or location.

A copied or moved folder keeps its digest; changed content under an old name and time changes it.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from asr_parallel.record.files import read_json
from asr_parallel.record.log import logger

# An audio file is identified by its size and this many evenly spaced blocks, other files by their whole content. Only
# a change within a recording that falls between two blocks goes unnoticed.
BLOCKS, BLOCK_BYTES = 8, 4096
SOUND_SUFFIXES = {
    ".sph", ".wav", ".wv1", ".wv2", ".flac", ".mp3", ".ogg", ".opus", ".aif", ".aiff", ".aifc", ".au",
    ".snd", ".w64", ".rf64", ".gsm", ".nist", ".caf", ".raw", ".m4a",
}  # fmt: skip
SETTLED_SECONDS = 2.0  # a more recent file may change again within one tick of the file system's clock


def digest(value: Any) -> str:
    """Return the digest of a JSON-like value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


class Digests:
    """Digests of files, cached on disk by inode, size and times, so that unchanged files are not read again.

    Users cannot set the ctime of an inode back, so replaced content is read again whatever its modification time.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Read the cached digests.

        Args:
            path: the cache file, which need not exist; None: no cache.
        """
        self._path = path
        self._known = _read(path) if path is not None else {}
        self._used: dict[str, str] = {}

    def of(self, path: Path, is_sound: bool | None = None) -> str:
        """Return the digest of a file; is_sound: as its name says when not given."""
        if is_sound is None:
            is_sound = path.suffix.lower() in SOUND_SUFFIXES
        found = self._known.get(key := _key(path.stat(), is_sound))
        if found is None:
            with path.open("rb", buffering=0) as file:
                stat = os.fstat(file.fileno())
                key = _key(stat, is_sound)
                found = _sampled(file.fileno(), stat.st_size) if is_sound else _whole(file)
            if time.time() - max(stat.st_mtime, stat.st_ctime) <= SETTLED_SECONDS:
                return found
        self._used[key] = found
        return found

    def of_all(self, files: Mapping[str, Path], are_sounds: bool | None = None) -> str:
        """Return one digest of files by name; one that cannot be read counts as such."""
        return digest({name: self._of_readable(path, are_sounds) for name, path in files.items()})

    def _of_readable(self, path: Path, is_sound: bool | None) -> str | None:
        try:
            return self.of(path, is_sound)
        except OSError:
            return None

    def keep(self, path: Path | None = None) -> None:
        """Write the digests used so far to `path`, or to the cache file if they changed."""
        if path is None and (self._path is None or self._used == self._known):
            return
        path = path or self._path
        assert path is not None
        temp = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:  # creates no folder, as another process may be replacing it
            temp.write_text(json.dumps(self._used), encoding="utf-8")
            temp.replace(path)
        except OSError as error:  # e.g. a read-only folder; the files are then read again next time
            logger.debug("%s: not kept: %s", path, error)
            with suppress(OSError):  # half written on a full disk
                temp.unlink()


def _key(stat: os.stat_result, is_sound: bool) -> str:
    return f"{stat.st_ino}.{stat.st_size}.{stat.st_mtime_ns}.{stat.st_ctime_ns}.{is_sound:d}"


def _read(path: Path) -> dict[str, str]:
    """Return what `keep` wrote; nothing where that is damaged."""
    try:
        found = read_json(path) if path.is_file() else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _whole(file: Any) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _sampled(handle: int, size: int) -> str:
    found = hashlib.sha256(str(size).encode())
    if size <= BLOCKS * BLOCK_BYTES:
        found.update(os.pread(handle, size, 0))
    else:
        for block in range(BLOCKS):
            found.update(os.pread(handle, BLOCK_BYTES, (size - BLOCK_BYTES) * block // (BLOCKS - 1)))
    return found.hexdigest()
