"""Workers end with their parent, however it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from live_processes import alive

PARENT = """
import sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from os import getpid
from asr_parallel.record.child_processes import exit_with_parent

def pid(seconds):
    time.sleep(seconds)  # long enough that the other worker takes the other call
    return getpid()

if __name__ == "__main__":
    pool = ProcessPoolExecutor(2, get_context(sys.argv[1]), initializer=exit_with_parent)
    print(*pool.map(pid, [0.5, 0.5]), flush=True)
    time.sleep(60)
"""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_a_killed_parent_leaves_no_worker(tmp_path: Path, method: str) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    command = [sys.executable, str(tmp_path / "parent.py"), method]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        workers = [int(word) for word in process.stdout.readline().split()]
        assert len(workers) == 2 and all(alive(worker) for worker in workers)
        os.kill(process.pid, signal.SIGKILL)
    while any(alive(worker) for worker in workers):  # the test's time limit ends it
        time.sleep(0.05)
