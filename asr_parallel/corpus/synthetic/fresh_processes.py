"""Parallel execution of calls, each in a fresh process, with results in order.

The pools of the standard library either keep processes between calls or (`max_tasks_per_child`, Python 3.11) may hang
when interrupted.
"""

import multiprocessing
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import BrokenExecutor
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from asr_parallel.record.child_processes import exit_with_parent


def in_fresh_processes(calls: Sequence[Callable[[], Any]], jobs: int, preload: str) -> Generator[Any, None, None]:
    """Yield the result of each call, in order; run at most `jobs` processes at a time, each for one call only.

    Args:
        calls: picklable functions.
        jobs: number of concurrent processes.
        preload: module to import once, so that a fresh process costs only a fork.

    Raises:
        Exception: the error of a call; the running processes are terminated, as when the caller stops early.
        BrokenExecutor: a process died.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    waiting = deque(enumerate(calls))
    running: dict[Connection, tuple[int, BaseProcess]] = {}
    done: dict[int, Any] = {}
    next_number = 0
    try:
        while next_number < len(calls):
            while waiting and len(running) < max(1, jobs):
                number, call = waiting.popleft()
                receiver, sender = context.Pipe(duplex=False)
                process: BaseProcess = context.Process(target=_run_call, args=(sender, call), daemon=True)
                process.start()
                sender.close()  # so that the pipe closes when the process ends
                running[receiver] = (number, process)
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                number, process = running[ready]
                done[number] = _result(ready, process)
                del running[ready]
            while next_number in done:
                yield done.pop(next_number)
                next_number += 1
    finally:
        for _, process in running.values():
            process.terminate()
        for connection, (_, process) in running.items():
            process.join()
            connection.close()


def _run_call(connection: Connection, call: Callable[[], object]) -> None:
    """Run the task in a fresh process and send its result."""
    exit_with_parent()
    try:
        connection.send((call(), None))
    except Exception as error:
        connection.send((None, error))


def _result(connection: Connection, process: BaseProcess) -> Any:
    """Return the result of the process."""
    try:
        value, error = connection.recv()
    except EOFError:
        process.join()
        raise BrokenExecutor(f"a process ended with status {process.exitcode} before its work was done") from None
    process.join()
    connection.close()
    if error is not None:
        raise error
    return value
