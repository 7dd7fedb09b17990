"""Calls in fresh processes."""

import os
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from functools import partial
from multiprocessing import active_children
from pathlib import Path

import pytest

from asr_parallel.corpus.synthetic.fresh_processes import in_fresh_processes


def _double(value: int) -> tuple[int, int]:
    time.sleep(0.1 if value == 0 else 0.0)  # the first is the last to end
    return 2 * value, os.getpid()


def _fail() -> None:
    raise ValueError("this one")


KILLED = """
import sys, time
from functools import partial
from asr_parallel.corpus.synthetic.fresh_processes import in_fresh_processes
if __name__ == "__main__":
    list(in_fresh_processes([partial(time.sleep, 600)] * 2, 2, "time"))
"""


@pytest.mark.timeout(60)
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds its processes in /proc")
def test_a_killed_parent_leaves_nothing_running(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(KILLED)

    def with_it(group: int) -> list[Path]:
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it ends meanwhile
                state, _, of, *_ = path.read_text().rpartition(")")[2].split()
                found += [path] if int(of) == group and state != "Z" else []
        return found

    parent = subprocess.Popen([sys.executable, str(tmp_path / "parent.py")], start_new_session=True)
    while len(with_it(parent.pid)) < 5:  # the server of forks, its tracker and two calls; the time limit ends it
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    while with_it(parent.pid):
        time.sleep(0.05)


def test_results_come_in_order_each_from_its_own_process() -> None:
    results = list(in_fresh_processes([partial(_double, value) for value in range(5)], 3, __name__))
    assert [value for value, _ in results] == [0, 2, 4, 6, 8]
    assert len({pid for _, pid in results} | {os.getpid()}) == 6


def test_what_a_call_raises_arrives_and_nothing_runs_on() -> None:
    with pytest.raises(ValueError, match="this one"):
        list(in_fresh_processes([_fail, partial(time.sleep, 60)], 2, __name__))
    assert not active_children()


def test_a_caller_who_stops_leaves_nothing_running() -> None:
    results = in_fresh_processes([partial(_double, 1), partial(time.sleep, 60)], 2, __name__)
    assert next(results)[0] == 2
    results.close()
    assert not active_children()


def test_a_process_that_dies_is_an_error_not_a_wait() -> None:
    with pytest.raises(BrokenExecutor, match="status 3 before its work was done"):
        list(in_fresh_processes([partial(os._exit, 3)], 1, __name__))
