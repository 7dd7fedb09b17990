"""Files that Kaldi's own programs wrote; tests/fixtures/kaldi/README.md says which program wrote each."""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent / "fixtures" / "kaldi"
MARK, SIZES = b" \0BFM ", "<bibi"  # of a binary matrix of floats in an archive; before each number its size


def matrices(name: str) -> dict[str, np.ndarray]:
    """Return the float matrices of a binary archive, by key."""
    return dict(_matrices((GOLDEN / name).read_bytes()))


def _matrices(data: bytes) -> Iterator[tuple[str, np.ndarray]]:
    at = 0
    while at < len(data):
        key_end = data.index(MARK, at)
        key, at = data[at:key_end].decode(), key_end + len(MARK)
        _, rows, _, columns = struct.unpack_from(SIZES, data, at)
        at += struct.calcsize(SIZES)
        yield key, np.frombuffer(data, "<f4", rows * columns, at).reshape(rows, columns)
        at += 4 * rows * columns


def lines(name: str) -> dict[str, list[str]]:
    """Return the words of each line of a text archive, by its key."""
    rows = (line.split() for line in (GOLDEN / name).read_text(encoding="utf-8").splitlines())
    return {key: words for key, *words in rows}
