r"""Reader of Kaldi's objects, binary and text (Kaldi: src/base/io-funcs-inl.h, src/matrix/kaldi-vector.cc).

A binary file begins with "\0B". Tokens end with a space in both formats. In binary, a number is a byte with its size
(negated for an unsigned integer) and the number, little-endian; a vector of integers is such a byte, the length and the
elements; a vector of floats is the token FV or DV, the length as a number and the elements. In text, numbers are words,
and vectors stand in brackets.
"""

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np

BINARY = b"\0B"
INT32, UINT32, FLOAT, DOUBLE = 4, 252, 4, 8  # bytes before numbers; 252 is -4
# No token or number is longer, so that a file of something else gives no endless one
BINARY_TOKEN = re.compile(rb"\s*(\S{1,100})\s")
TEXT_TOKEN = re.compile(rb"\s*([\[\]]|[^\s\[\]]{1,100})")


class ObjectReader:
    """The contents of one file, read from its beginning. All methods raise ValueError where something else is there.

    binary: whether the file is in the binary format.
    """

    def __init__(self, path: Path) -> None:
        """Read the file into memory.

        Raises:
            ValueError: no such file.
        """
        if not path.is_file():
            raise ValueError(
                f"{path.parent}: no {path.name}; expected a folder with Kaldi's ali.*.gz, final.mdl and tree"
            )
        self._path = path
        self._data = path.read_bytes()
        self.binary = self._data.startswith(BINARY)
        self._at = len(BINARY) if self.binary else 0

    def token(self) -> str:
        """Read a token."""
        found = self._match()
        if found is None:
            self.fail("a token")
        self._at = found.end()
        return _shown(found[1])

    def peek(self) -> str:
        """Return the next token without reading it; empty where there is none."""
        found = self._match()
        return "" if found is None else _shown(found[1])

    def expect(self, *tokens: str) -> str:
        """Read a token that must be one of these."""
        if self.peek() not in tokens:
            self.fail(" or ".join(tokens))
        return self.token()

    def integer(self, signed: bool = True) -> int:
        """Read a 32-bit integer."""
        if not self.binary:
            return int(self._word("a 32-bit integer", _int32))
        self._size(INT32 if signed else UINT32, "a 32-bit integer")
        return int(self._unpack("<i" if signed else "<I", "a 32-bit integer"))

    def real(self) -> float:
        """Read a floating-point number of 32 or 64 bits."""
        if not self.binary:
            return self._word("a number", float)
        if self._data[self._at : self._at + 1] == bytes([DOUBLE]):
            self._at += 1
            return float(self._unpack("<d", "a number"))
        self._size(FLOAT, "a floating-point number")
        return float(self._unpack("<f", "a number"))

    def integers(self) -> list[int]:
        """Read a vector of 32-bit integers."""
        if not self.binary:
            return [int(word) for word in self._bracketed("32-bit integers", _int32)]
        self._size(INT32, "a vector of 32-bit integers")
        count = int(self._unpack("<i", "the length of a vector"))
        return self._array(count, "<i4").tolist()

    def reals(self) -> np.ndarray:
        """Read a vector of floating-point numbers, (N,) float64."""
        if not self.binary:
            return np.array(self._bracketed("numbers", float), dtype=np.float64)
        kind = self.expect("FV", "DV")
        return self._array(self.integer(), "<f4" if kind == "FV" else "<f8").astype(np.float64)

    def matrix(self) -> np.ndarray:
        """Read a matrix of floating-point numbers, (rows, columns) float64."""
        if self.binary:
            kind = self.expect("FM", "DM")
            rows, columns = self.integer(), self.integer()
            if min(rows, columns) < 0:
                self.refuse(f"a matrix of {rows} rows and {columns} columns")
            array = self._array(rows * columns, "<f4" if kind == "FM" else "<f8")
            return array.astype(np.float64).reshape(rows, columns)
        self.expect("[")
        end = self._data.find(b"]", self._at)
        lines = [line for line in self._data[self._at : max(end, 0)].split(b"\n") if line.strip()]
        values = self._numbers(lines)
        if end < 0 or values is None:
            self.fail("rows of numbers, of equal lengths, and ]")
        self._at = end + 1
        return values

    def boolean(self) -> bool:
        """Read a truth value."""
        if not self.binary:
            return self.expect("T", "F") == "T"
        value = self._data[self._at : self._at + 1]
        if value not in (b"T", b"F"):
            self.fail("T or F")
        self._at += 1
        return value == b"T"

    def lines(self) -> list[str]:
        """Read the rest of a line, which must be blank, and the lines up to a blank one."""
        found: list[str] = []
        while (end := self._data.find(b"\n", self._at)) >= 0:
            line = _shown(self._data[self._at : end]).strip()
            if line and not found:
                self.fail("the end of a line")
            self._at = end + 1
            if found and not line:
                return found[1:]
            found.append(line)
        self.fail("lines, and an empty one after them")

    def fail(self, expected: str) -> NoReturn:
        """Raise ValueError with the place, what was expected and what is there."""
        rest = self._data[self._at : self._at + 20]
        found = repr(_shown(rest)) if rest else "the end of the file"
        self.refuse(f"expected {expected}, found {found}")

    def refuse(self, problem: str) -> NoReturn:
        """Raise ValueError with the place and a problem of what stands before it."""
        kind = "binary" if self.binary else "text"
        raise ValueError(f"{self._path}: byte {self._at} ({kind}): {problem}")

    def _match(self) -> re.Match[bytes] | None:
        return (BINARY_TOKEN if self.binary else TEXT_TOKEN).match(self._data, self._at)

    def _word(self, what: str, kind: Callable[[str], float]) -> float:
        try:
            value = kind(self.peek())
        except ValueError:
            self.fail(what)
        self.token()
        return value

    def _bracketed(self, what: str, kind: Callable[[str], float]) -> list[float]:
        self.expect("[")
        values = []
        while self.peek() != "]":
            values.append(self._word(f"{what} and ]", kind))
        self.token()
        return values

    @staticmethod
    def _numbers(lines: list[bytes]) -> np.ndarray | None:
        """Return lines of numbers as rows; None where there are others or rows of other lengths."""
        try:
            return np.array([line.split() for line in lines], dtype=np.float64).reshape(len(lines), -1)
        except ValueError:
            return None

    def _size(self, byte: int, what: str) -> None:
        if self._data[self._at : self._at + 1] != bytes([byte]):
            self.fail(what)
        self._at += 1

    def _unpack(self, form: str, what: str) -> float:
        if self._at + struct.calcsize(form) > len(self._data):
            self.fail(what)
        (value,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return value

    def _array(self, count: int, dtype: str) -> np.ndarray:
        size = count * np.dtype(dtype).itemsize
        if count < 0 or self._at + size > len(self._data):
            self.fail(f"{count} elements of a vector")
        array = np.frombuffer(self._data, dtype, count, self._at)
        self._at += size
        return array


def _int32(word: str) -> int:
    """Return the integer; ValueError for another word and for one of more bits."""
    value = int(word)
    if value.bit_length() > 31:
        raise ValueError(word)
    return value


def _shown(data: bytes) -> str:
    return data.decode("ascii", errors="backslashreplace")
