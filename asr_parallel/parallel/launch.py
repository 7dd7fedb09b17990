"""Launch of several processes on this machine."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Sequence

from asr_parallel.parallel.process_info import LAUNCH
from asr_parallel.record.child_processes import PARENT, STOP_SECONDS
from asr_parallel.record.interrupt import Interrupted, signals_ignored


def launch(arguments: Sequence[str], processes: int, timeout: float, fault_tolerant: bool = False) -> int:
    """Run `asr-parallel ARGUMENTS` in several processes of this machine and wait for all.

    When one fails, the others have `timeout` seconds and a little more to find out by themselves; in a
    fault-tolerant run, as long as rank 0 needs. When this process is asked to end, it ends them; when it is killed,
    they end.

    Returns:
        0, or the exit status of the process that failed first; rank 0's, where the others may fail.

    Raises:
        Interrupted: by a signal, of which rank 0 has said what there is to say.
    """
    name = uuid.uuid4().hex
    running: dict[int, subprocess.Popen[bytes]] = {}
    status, deadline = 0, float("inf")
    try:
        for rank in range(processes):
            own = {"RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_RANK": str(rank),
                   "LOCAL_WORLD_SIZE": str(processes), LAUNCH: name, PARENT: str(os.getpid())}  # fmt: skip
            own.setdefault("TORCH_CPP_LOG_LEVEL", os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"))  # no stack traces
            command = [sys.executable, "-m", "asr_parallel.cli.main", *arguments]
            # In a session of its own: Ctrl-C comes once to each, from here
            running[rank] = subprocess.Popen(command, env=os.environ | own, start_new_session=True)
        while running:
            time.sleep(0.05)
            for rank, process in list(running.items()):
                if process.poll() is None:
                    continue
                del running[rank]
                if process.returncode and not status and (rank == 0 or not fault_tolerant):
                    status, deadline = process.returncode, time.monotonic() + timeout + 10
            if time.monotonic() > deadline:
                break
    except Interrupted as interruption:
        _end(running.values())
        if 0 in running and running[0].returncode > 0:
            raise Interrupted(interruption.number, "") from None
        raise
    finally:
        _end(running.values())
    return status if status >= 0 else 128 - status


def _end(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """Terminate processes, with time to clean up."""
    with signals_ignored():
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
