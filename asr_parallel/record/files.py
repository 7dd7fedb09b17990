"""Atomic files and folders: they are written under a temporary name and renamed."""

import json
import os
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asr_parallel.record.log import logger

# Unicode categories: format (zero width), control, and separators of words, lines and paragraphs
INVISIBLE = {"Cf", "Cc", "Zs", "Zl", "Zp"}


def fsync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk (fsync)."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def resolve_links(path: Path) -> Path:
    """Return the absolute path of a file or folder with all symbolic links resolved; it need not exist."""
    return Path(os.path.realpath(path))


def list_files(folder: Path) -> list[Path]:
    """Return all files in a folder and those in it, sorted by path; symbolic links are followed, each folder once."""
    found, been = list[Path](), set[tuple[int, int]]()
    for where, folders, names in os.walk(folder, followlinks=True):
        stat = Path(where).stat()
        if (stat.st_dev, stat.st_ino) in been:
            folders.clear()
            continue
        been.add((stat.st_dev, stat.st_ino))
        folders.sort()
        found += [path for path in map(Path(where).joinpath, names) if path.is_file()]
    return sorted(found)


PROBE_BYTES = 1 << 16


def _with_cause(error: OSError, folder: Path) -> OSError:
    """Return the error with the system's reason, for libraries that only report that writing failed.

    numpy and OpenFst do so when the disk is full; writing a probe file to the same folder shows the reason (full disk,
    quota, file size limit).
    """
    probe = folder / f".{os.getpid()}.probe"
    try:
        try:
            probe.write_bytes(bytes(PROBE_BYTES))
            fsync(probe)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as cause:
        return OSError(cause.errno, f"{cause.strerror} ({error})", str(folder))
    return error


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is fsynced and renamed to `path`, else removed.

    Where `path` is a symbolic link, the file it points to is replaced.

    Raises:
        OSError: it cannot be written (a full disk, say); names `path` where the system's error names no file.
    """
    path = resolve_links(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield temp
        fsync(temp)
        temp.replace(path)
    except OSError as error:
        if error.filename is not None:
            raise
        if error.errno is None:  # numpy's own errors have only a text
            raise _with_cause(OSError(f"{path}: {error}"), path.parent) from error
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temp.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_file(path) as temp:
        temp.write_text(text, encoding="utf-8")


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write one line each (no newline inside a line), atomically."""
    with atomic_file(path) as temp, temp.open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(line + "\n")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; ValueError naming the file when it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from error


def read_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 text file, split at newlines only, without a carriage return before them.

    A byte order mark at the start is left out. Other separators, such as U+2028 or a form feed, end no line.

    Raises:
        ValueError: not UTF-8 (with the line number).
    """
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        start = len(data) - len(error.object) + error.start  # error.object excludes the byte order mark
        line = data.count(b"\n", 0, start) + 1
        raise ValueError(f"{path}: line {line} is not valid UTF-8 (byte {start})") from error
    lines = text.split("\n")
    if not lines[-1]:  # behind the last newline
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def read_text_lines(path: Path) -> list[str]:
    """Return `read_lines` of a file of words, and warn of invisible characters.

    Those are zero-width characters, which make two words of what looks like one, and separators and control
    characters other than space and tab, which separate words as a space does.
    """
    lines = read_lines(path)
    odd = {c for c in set("".join(lines)) - {" ", "\t"} if unicodedata.category(c) in INVISIBLE}
    if odd:
        counts = Counter(c for line in lines if not odd.isdisjoint(line) for c in line if c in odd)
        first = next(n for n, line in enumerate(lines, 1) if not odd.isdisjoint(line))
        logger.warning(
            "%s: invisible characters: %s; the first in line %d. Separators among them end a word, all others are"
            " part of one, which equals no word without them",
            *(path, ", ".join(f"U+{ord(c):04X} {n} times" for c, n in sorted(counts.items())), first),
        )
    return lines


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a fresh folder beside `path`; on success it replaces `path`, else it is removed.

    An older `path` stays untouched until the new one is complete. Where `path` is a symbolic link, the folder it points
    to is replaced, and the link stays. Two processes must not do this to one folder at a time (see record/lock.py).

    Raises:
        ValueError: `path` is a mount point.
    """
    path = resolve_links(path)
    if path.is_mount():
        raise ValueError(f"{path}: a mount point, which nothing can take the place of; expected a folder in it")
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name(f".{path.name}.partial")
    old = path.with_name(f".{path.name}.old")
    if old.exists() and not path.exists():  # killed between the two renames
        old.rename(path)
    for left_over in (temp, old):  # of a run that was killed
        if left_over.exists():
            shutil.rmtree(left_over)
    temp.mkdir()
    try:
        yield temp
        if path.exists():
            path.rename(old)
        temp.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException as error:
        if old.exists() and not path.exists():
            old.rename(path)
        cause = _with_cause(error, temp) if isinstance(error, OSError) and error.errno is None else error
        shutil.rmtree(temp, ignore_errors=True)
        if cause is not error:
            raise cause from error
        raise
