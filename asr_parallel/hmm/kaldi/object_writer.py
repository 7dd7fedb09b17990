r"""Writer of Kaldi's objects, binary and text: the formats that `object_reader` reads."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr_parallel.features.kaldi_writer import matrix_bytes
from asr_parallel.hmm.kaldi.object_reader import BINARY, FLOAT, INT32, UINT32
from asr_parallel.record.files import atomic_file


class ObjectWriter:
    """The contents of one file, in one of the two formats.

    data: the bytes so far.
    """

    def __init__(self, binary: bool) -> None:
        """Begin the file."""
        self.binary = binary
        self.data = bytearray(BINARY if binary else b"")

    def token(self, *tokens: str) -> None:
        """Write tokens, or other words without spaces."""
        for token in tokens:
            self.data += token.encode() + b" "

    def line(self, text: str | None = None) -> None:
        """End a line, which only text has; a `text` is written in both formats, with its line's end."""
        if text is not None:
            self.data += text.encode() + b"\n"
        elif not self.binary:
            self.data += b"\n"

    def integer(self, *values: int) -> None:
        """Write 32-bit integers."""
        for value in values:
            self.data += struct.pack("<Bi", INT32, value) if self.binary else f"{value} ".encode()

    def unsigned(self, value: int) -> None:
        """Write an unsigned 32-bit integer."""
        self.data += struct.pack("<BI", UINT32, value) if self.binary else f"{value} ".encode()

    def real(self, value: float) -> None:
        """Write a floating-point number of 32 bits."""
        self.data += struct.pack("<Bf", FLOAT, value) if self.binary else f"{value:.9g} ".encode()

    def boolean(self, value: bool) -> None:
        """Write a truth value."""
        self.data += (b"T" if value else b"F") + (b"" if self.binary else b" ")

    def integers(self, values: Sequence[int]) -> None:
        """Write a vector of 32-bit integers."""
        if self.binary:
            self.data += struct.pack("<Bi", INT32, len(values)) + np.asarray(values, dtype="<i4").tobytes()
        else:
            self.data += b"[ " + b"".join(f"{value} ".encode() for value in values) + b"]\n"

    def reals(self, values: np.ndarray) -> None:
        """Write a vector of 32-bit floating-point numbers."""
        if self.binary:
            self.token("FV")
            self.integer(len(values))
            self.data += np.asarray(values, dtype="<f4").tobytes()
        else:
            self.data += b" [ " + _words(values) + b"]\n"

    def matrix(self, values: np.ndarray) -> None:
        """Write a matrix of 32-bit floating-point numbers."""
        if self.binary:
            self.data += matrix_bytes(np.asarray(values, dtype=np.float32))
        else:
            self.data += b" [" + b"".join(b"\n  " + _words(row) for row in values) + b"]\n"

    def save(self, path: Path) -> None:
        """Write the file, atomically."""
        with atomic_file(path) as temp:
            temp.write_bytes(self.data)


def _words(values: np.ndarray) -> bytes:
    return b"".join(f"{value:.9g} ".encode() for value in np.asarray(values, dtype=np.float32).tolist())
