"""A .npy matrix that is appended to in blocks of rows, by plain writes.

With a memory map, a full disk would kill the process (SIGBUS) instead of raising OSError.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from asr_parallel.record.files import atomic_file


class MatrixFile:
    """Rows of `columns` numbers of one dtype, appended to an open file; `rows` counts them."""

    def __init__(self, file: BinaryIO, dtype: np.dtype, columns: int) -> None:
        self._file = file
        self._dtype = dtype
        self._columns = columns
        self.rows = 0
        self._data_start = self._write_header()

    def append(self, block: np.ndarray) -> None:
        """Add (n, columns) rows, converted to the file's dtype."""
        assert block.shape[1:] == (self._columns,), block.shape
        self._file.write(np.ascontiguousarray(block, dtype=self._dtype).data)
        self.rows += len(block)

    def finish(self) -> None:
        """Put the number of rows into the header, which numpy pads so that any number fits."""
        self._file.seek(0)
        data_start = self._write_header()
        assert data_start == self._data_start

    def _write_header(self) -> int:
        shape = (self.rows, self._columns)
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        return self._file.tell()


@contextmanager
def matrix_file(path: Path, dtype: type[np.generic], columns: int) -> Iterator[MatrixFile]:
    """Open a matrix to append rows to; `path` is replaced only if the block succeeds."""
    with atomic_file(path) as temp, temp.open("wb") as file:
        matrix = MatrixFile(file, np.dtype(dtype), columns)
        yield matrix
        matrix.finish()
