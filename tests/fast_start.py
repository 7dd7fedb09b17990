"""Processes of `asr-parallel` forked from one that has imported everything, for tests that start many.

A process of its own imports for several seconds before it does anything. Tests whose subject is the start itself, or
another launcher than --processes, begin with `python -m asr_parallel.cli.main` instead.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from typing import Any, NoReturn

from asr_parallel.cli.main import main
from asr_parallel.compare import run_jobs
from asr_parallel.parallel import process_info
from asr_parallel.parallel.asynchronous import server_process

context = multiprocessing.get_context("forkserver")


def start_server() -> None:
    """Start the process that all others are forked from, if it does not run."""
    context.set_forkserver_preload(["imported_all"])  # beside this file, where it would not look by itself
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *filter(None, [before])])
    try:
        ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before


class Started:
    """A running `asr-parallel`, with the methods of subprocess.Popen; standard error goes to standard output."""

    def __init__(
        self,
        words: Sequence[str],
        env: Mapping[str, str] = {},
        session: bool = False,
        ignored: int | None = None,
        program: Callable[[list[str]], int | None] = main,
        streams: tuple[Path, Path] | None = None,
        folder: Path | None = None,
    ) -> None:
        """Start it.

        Args:
            words: of the command line, from the verb on.
            env: beside os.environ.
            session: whether to start a session of its own.
            ignored: a signal that it ignores from its start on, as under nohup.
            program: that gets the words, a function of a module.
            streams: files for standard output and error, instead of what `communicate` returns.
            folder: where it runs, if not here.
        """
        file, name = tempfile.mkstemp(prefix="asr-parallel-said-")
        os.close(file)
        self._said = Path(name)
        everything = dict(os.environ) | {"OMP_NUM_THREADS": "1"} | dict(env)
        said, where = streams or (self._said, self._said), folder or Path.cwd()
        self._process: ForkServerProcess = context.Process(
            target=_run, args=(program, list(words), said, everything, where, session, ignored)
        )
        start_server()
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("asr-parallel", timeout or 0.0)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        self.wait(timeout)
        return self._said.read_text(), None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> "Started":
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()


class _Forked:
    """A process of launch(), with the methods of subprocess.Popen that it calls."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], start_new_session: bool) -> None:
        assert list(command[:3]) == [sys.executable, "-m", "asr_parallel.cli.main"] and start_new_session
        self.returncode: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            os.setsid()
            os.environ.clear()
            os.environ.update(env)
            _exit_with(main, list(command[3:]))

    def poll(self) -> int | None:
        return self._wait(os.WNOHANG)

    def wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("asr-parallel", timeout)
            time.sleep(0.01)
        return status

    def _wait(self, how: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, how)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def _run(
    program: Callable[[list[str]], int | None], words: list[str], streams: tuple[Path, Path], env: dict[str, str],
    folder: Path, session: bool, ignored: int | None,
) -> None:  # fmt: skip
    for number, path in enumerate(streams, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    if session:
        os.setsid()
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        signal.signal(number, signal.SIG_IGN if number == ignored else handler)

    class Module:
        Popen, TimeoutExpired = _Forked, subprocess.TimeoutExpired

    class Forking:
        get_context = staticmethod(lambda _: multiprocessing.get_context("fork"))

    server_process.context = multiprocessing.get_context("fork")  # type: ignore[assignment]
    process_info.subprocess = Module  # type: ignore[assignment]
    run_jobs.multiprocessing = Forking  # type: ignore[assignment]
    _exit_with(program, words)


def _exit_with(program: Callable[[list[str]], int | None], words: list[str]) -> NoReturn:
    status: Any = 1
    try:
        status = program(words) or 0
    except SystemExit as error:
        status = error.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1)
    raise AssertionError
