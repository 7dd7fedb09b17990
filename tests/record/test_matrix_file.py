"""A matrix written by blocks is the one numpy writes, and a full disk is an error with its reason."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from asr_parallel.record.matrix_file import matrix_file


@pytest.mark.parametrize("borders", [[0, 7, 1000, 1203], [0, 0, 1]])
def test_blocks_make_the_file_numpy_writes(tmp_path: Path, borders: list[int]) -> None:
    matrix = np.random.default_rng(0).standard_normal((borders[-1], 5))
    with matrix_file(tmp_path / "m.npy", np.float16, 5) as file:
        for start, end in pairwise(borders):
            file.append(matrix[start:end])
    np.save(tmp_path / "expected.npy", matrix.astype(np.float16))
    assert (tmp_path / "m.npy").read_bytes() == (tmp_path / "expected.npy").read_bytes()


def test_a_matrix_that_fails_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bad block"), matrix_file(tmp_path / "m.npy", np.float32, 2) as file:
        file.append(np.zeros((3, 2)))
        raise ValueError("bad block")
    assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import errno, resource, signal, sys
from pathlib import Path
import numpy as np
from asr_parallel.record.matrix_file import matrix_file

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that writing fails as on a full disk, by an error
resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
try:
    with matrix_file(Path(sys.argv[1]) / "m.npy", np.float32, 100) as file:
        file.append(np.zeros((100, 100)))
except OSError as error:
    sys.exit(0 if error.errno == errno.EFBIG else 2)
sys.exit(3)
"""


def test_a_full_disk_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], timeout=60)
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []
