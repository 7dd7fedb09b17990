r"""Alignments that Kaldi has made: gzipped archives of vectors of transition ids (Kaldi: src/util/kaldi-holder-inl.h).

An entry is the utterance's id, a space, and either "\0B" with the length and the elements, each a byte 4 and 32 bits,
or, in text, the elements and a newline.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np

from asr_parallel.hmm.kaldi.object_reader import BINARY, INT32

ALIGNMENT_FILE = re.compile(r"ali\.(\d+)\.gz")
KEY = re.compile(rb"\s*(\S+)[ \t]?")
ELEMENT = np.dtype([("size", "u1"), ("value", "<i4")])


def alignment_files(folder: Path) -> list[Path]:
    """Return ali.1.gz, ali.2.gz, ... of a folder, in order of their numbers.

    Raises:
        ValueError: none, or not as many as num_jobs says.
    """
    numbers = {
        int(found[1]): path for path in folder.glob("ali.*.gz") if (found := ALIGNMENT_FILE.fullmatch(path.name))
    }
    if not numbers:
        raise ValueError(f"{folder}: no ali.*.gz; expected a folder with Kaldi's ali.*.gz, final.mdl and tree")
    if (folder / "num_jobs").is_file():
        words = (folder / "num_jobs").read_text(encoding="utf-8").split()
        if len(words) != 1 or not words[0].isdecimal():
            raise ValueError(f"{folder / 'num_jobs'}: expected a number of jobs")
        missing = [n for n in range(1, int(words[0]) + 1) if n not in numbers]
        if missing or len(numbers) != int(words[0]):
            named = f", but no ali.{missing[0]}.gz" if missing else ""
            raise ValueError(f"{folder}: {len(numbers)} files ali.*.gz{named}; num_jobs says {words[0]}")
    return [numbers[n] for n in sorted(numbers)]


def read_alignments(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (utterance, (frames,) int32 transition ids) of one file.

    Raises:
        ValueError: not gzip, truncated, or another kind of archive.
    """
    zipped = path.read_bytes()
    if not zipped:
        raise ValueError(f"{path}: an empty file; expected a gzipped archive")
    try:
        data = gzip.decompress(zipped)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: truncated or not gzip: {error}") from error
    at = 0
    while found := KEY.match(data, at):
        utterance = found[1].decode("utf-8", errors="backslashreplace")
        at = found.end()
        if data.startswith(BINARY, at):
            ids, at = _binary(path, utterance, data, at + len(BINARY))
        else:
            end = data.find(b"\n", at)
            if end < 0:
                _fail(path, utterance, "is truncated: no newline at its end")
            ids, at = _text(path, utterance, data[at:end]), end
        yield utterance, ids


def _binary(path: Path, utterance: str, data: bytes, at: int) -> tuple[np.ndarray, int]:
    """Return the elements of a binary entry whose length is at `at`, and its end."""
    if data[at : at + 1] != bytes([INT32]):
        _fail(path, utterance, "is not a vector of 32-bit integers")
    count = int.from_bytes(data[at + 1 : at + 5], "little", signed=True)
    at += 5
    if count < 0 or at + count * ELEMENT.itemsize > len(data):
        _fail(path, utterance, f"is truncated: {count} frames are said to follow")
    elements = np.frombuffer(data, ELEMENT, count, at)
    if (elements["size"] != INT32).any():
        _fail(path, utterance, "is not a vector of 32-bit integers")
    return np.ascontiguousarray(elements["value"], dtype=np.int32), at + count * ELEMENT.itemsize


def _text(path: Path, utterance: str, line: bytes) -> np.ndarray:
    try:
        return np.array([int(word) for word in line.split()], dtype=np.int32)
    except (ValueError, OverflowError):
        _fail(path, utterance, "is not a line of transition ids")


def _fail(path: Path, utterance: str, what: str) -> NoReturn:
    raise ValueError(f"{path}: the alignment of {utterance[:60]} {what}; expected an archive made by Kaldi's aligners")
