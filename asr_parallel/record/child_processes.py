"""Child processes that exit when their parent does, even if it is killed."""

import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing import parent_process

PARENT = "ASR_PARALLEL_PARENT"  # environment variable: pid of the process with which `asr-parallel` exits
POLL_SECONDS = 0.5  # between two checks that it still runs
STOP_SECONDS = 30.0  # time for a training to write a checkpoint; the same as torchrun's


def exit_with_parent(stop_seconds: float = 0.0) -> None:
    """Ignore SIGINT and SIGHUP, which the parent handles, and exit when it does; call this first in a worker.

    Args:
        stop_seconds: time to clean up after SIGTERM; 0: exit at once.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None
    _exit_after(parent.join, stop_seconds)


def exit_with_process(pid: int) -> None:
    """Exit (after a SIGTERM) when the parent of this process, or process `pid`, does."""
    parent = os.getppid()

    def wait_for_exit() -> None:
        while os.getppid() == parent and _is_running(pid):
            time.sleep(POLL_SECONDS)

    _exit_after(wait_for_exit, STOP_SECONDS)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, as another user
        pass
    return True


def _exit_after(wait_for_exit: Callable[[], None], stop_seconds: float) -> None:
    def end() -> None:
        wait_for_exit()
        if stop_seconds:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(stop_seconds)
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
