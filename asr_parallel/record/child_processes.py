"""Processes that end when the one that started them does, however that ends."""

import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing import parent_process

PARENT = "ASR_PARALLEL_PARENT"  # environment variable: pid of the process that `asr-parallel` is to end with
LOOK_SECONDS = 0.5  # between two looks at whether it is still there
STOP_SECONDS = 30.0  # that a training may take to write a checkpoint; torchrun gives its processes as long


def follow_the_parent(stop_seconds: float = 0.0) -> None:
    """Leave Ctrl-C and a lost terminal to the parent, and end when it does; to be called first in a worker.

    Args:
        stop_seconds: after SIGTERM, to put things in order; 0: end at once.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None
    _end_after(parent.join, stop_seconds)


def follow(pid: int) -> None:
    """End, by SIGTERM at first, when the process that has started this one, or process `pid`, does."""
    parent = os.getppid()

    def gone() -> None:
        while os.getppid() == parent and _is_there(pid):
            time.sleep(LOOK_SECONDS)

    _end_after(gone, STOP_SECONDS)


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's, so it is
        pass
    return True


def _end_after(gone: Callable[[], None], stop_seconds: float) -> None:
    def end() -> None:
        gone()
        if stop_seconds:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(stop_seconds)
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
