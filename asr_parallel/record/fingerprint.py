"""Identify files by names, sizes and contents; neither by times nor by where they lie.

So a copied or moved folder is known again, and other content under an old name and time is noticed.
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

# A sound file is known by its size and so many blocks, spread evenly from its first to its last byte; others by all
# they hold. Nothing but a change within a recording, shorter than the way between two blocks, escapes that.
BLOCKS, BLOCK_BYTES = 8, 4096
SOUND_SUFFIXES = {
    ".sph", ".wav", ".wv1", ".wv2", ".flac", ".mp3", ".ogg", ".opus", ".aif", ".aiff", ".aifc", ".au",
    ".snd", ".w64", ".rf64", ".gsm", ".nist", ".caf", ".raw", ".m4a",
}  # fmt: skip
SETTLED_SECONDS = 2.0  # a file changed since may change again within one tick of its file system's clock


def digest(value: Any) -> str:
    """Return the digest of a JSON-like value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


class Digests:
    """Digests of files, kept in a file by inode, size and times, so that what nobody has touched is not read again.

    The system sets the time of an inode's last change (ctime) and lets nobody set it back, so a content that was
    replaced is read again whatever its modification time.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Read the digests that were kept in a file.

        Args:
            path: of the file, which need not be there; None: nothing is kept.
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
        """Write what was asked for to another path, or to its own unless that is there already."""
        if path is None and (self._path is None or self._used == self._known):
            return
        path = path or self._path
        assert path is not None
        aside = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:  # makes no folder: another process may be about to put a new one in its place
            aside.write_text(json.dumps(self._used), encoding="utf-8")
            aside.replace(path)
        except OSError as error:  # somebody else's folder, say; next time the files are read once more
            logger.debug("%s: not kept: %s", path, error)
            with suppress(OSError):  # half written on a full disk
                aside.unlink()


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
