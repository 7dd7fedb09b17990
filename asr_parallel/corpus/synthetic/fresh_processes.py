"""Each call in a fresh process of its own, some at a time, results in order.

The pools of the standard library either keep processes between calls or (`max_tasks_per_child`, Python 3.11) may hang
when interrupted; what is needed here is less.
"""

import multiprocessing
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import BrokenExecutor
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from asr_parallel.record.child_processes import follow_the_parent


def in_fresh_processes(calls: Sequence[Callable[[], Any]], jobs: int, preload: str) -> Generator[Any, None, None]:
    """Yield each call's result in order; at most `jobs` processes at a time, each for one call only.

    Args:
        calls: what to do; must be picklable.
        jobs: processes at a time.
        preload: module imported once, so that a fresh process costs a fork and not the imports.

    Raises:
        Exception: whatever a call raises; then, and when the caller stops, the running processes are ended.
        BrokenExecutor: a process died.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    waiting = deque(enumerate(calls))
    running: dict[Connection, tuple[int, BaseProcess]] = {}
    done: dict[int, Any] = {}
    following = 0
    try:
        while following < len(calls):
            while waiting and len(running) < max(1, jobs):
                number, call = waiting.popleft()
                ours, theirs = context.Pipe(duplex=False)
                process: BaseProcess = context.Process(target=_answer, args=(theirs, call), daemon=True)
                process.start()
                theirs.close()  # so that the end of the process is the end of the pipe
                running[ours] = (number, process)
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                number, process = running[ready]
                done[number] = _result(ready, process)
                del running[ready]
            while following in done:
                yield done.pop(following)
                following += 1
    finally:
        for _, process in running.values():
            process.terminate()
        for connection, (_, process) in running.items():
            process.join()
            connection.close()


def _answer(connection: Connection, call: Callable[[], object]) -> None:
    """Run the task in a fresh process and send its result."""
    follow_the_parent()
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
