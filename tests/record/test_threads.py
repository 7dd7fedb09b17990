"""Threads in which torch computes alone."""

import os
import subprocess
import sys

import pytest
import torch

from asr_parallel.record.threads import one_thread, single_thread_pool

SCRIPT = """
import ctypes, torch
from pathlib import Path
from asr_parallel.hmm.em import threaded
from asr_parallel.record.threads import single_thread_pool
torch.set_num_threads(3)
found = list(Path(torch.__file__).parent.glob("lib/libgomp*"))
openmp = ctypes.CDLL(str(found[0])) if found else None
# First: later threads begin with the last number that was set in any
print(*threaded(lambda _: torch.get_num_threads(), range(2), 2))
with single_thread_pool(2) as pool:
    print(*pool.map(lambda _: openmp.omp_get_max_threads() if openmp else 1, range(2)))
    print(*pool.map(lambda _: torch.get_num_threads(), range(2)))
print(torch.get_num_threads(), openmp.omp_get_max_threads() if openmp else 3)
"""


@pytest.mark.timeout(60)
def test_threads_of_a_pool_compute_alone_and_the_main_one_as_before() -> None:
    """Ask for the threads that OpenMP will take before torch has computed anything in the thread."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=os.environ | {"OMP_NUM_THREADS": "3"}, capture_output=True, text=True,
        timeout=50, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["1 1", "1 1", "1 1", "3 3"]


def test_one_thread_for_a_while() -> None:
    before = torch.get_num_threads()
    with pytest.raises(KeyError), one_thread():
        assert torch.get_num_threads() == 1
        raise KeyError
    assert torch.get_num_threads() == before


def test_a_pool_leaves_the_callers_threads() -> None:
    before = torch.get_num_threads()
    with single_thread_pool(1) as pool:
        pool.submit(torch.get_num_threads).result()
    assert torch.get_num_threads() == before
