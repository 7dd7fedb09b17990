"""Several jobs at a time, each of several verbs of the program; a job that fails does not stop the others.

Verbs are cached and unfinished trainings resume, so a comparison that was killed continues when it is started again.
"""

import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Protocol

from asr_parallel import __version__
from asr_parallel.record.child_processes import STOP_SECONDS, exit_with_parent
from asr_parallel.record.files import read_json, write_json
from asr_parallel.record.interrupt import signals_ignored
from asr_parallel.record.lock import locked
from asr_parallel.record.log import logger
from asr_parallel.record.program import main
from asr_parallel.training.evaluation import DIVERGED
from asr_parallel.training.run_training import working_path

SECONDS_BETWEEN_LOOKS = 2.0
CLEAN_UP_SECONDS = STOP_SECONDS + 10.0  # a job's own processes have STOP_SECONDS
# Imported once, in the process that all jobs are forked from; they would take each of them 4 seconds
PRELOAD = ["asr_parallel.training.run_training", "asr_parallel.decode.decode", "asr_parallel.decode.scoring"]


@dataclass(frozen=True)
class Job:
    """Verbs with their arguments.

    log: gets their output. failed: file that exists while the last try that ended has failed. out: folder that the
    first verb, a training, makes.
    """

    name: str
    verbs: tuple[tuple[str, ...], ...]
    log: Path
    failed: Path
    out: Path

    @property
    def failure(self) -> str | None:
        """The last line of the log if the last try failed."""
        return str(read_json(self.failed)["last"]) if self.failed.is_file() else None

    @property
    def has_diverged(self) -> bool:
        """True where this very training, by this version, has diverged, as it would again."""
        if not self.failed.is_file():
            return False
        made = read_json(self.failed)
        same = made.get("command") == self._command and made.get("version") == __version__
        return same and DIVERGED in made["last"]

    def note_failure(self, last: str, status: int) -> None:
        """Write the file `failed`."""
        made = {"last": last, "status": status, "command": self._command, "version": __version__}
        write_json(self.failed, made)

    @property
    def _command(self) -> list[str]:
        return list(self.verbs[0]) if self.verbs else []


class Watch(Protocol):
    """Something that shows how far jobs are."""

    def started(self, job: Job) -> None: ...

    def ended(self, job: Job, failed: bool) -> None: ...

    def show(self) -> None: ...

    def close(self) -> None: ...


class Executor(Protocol):
    """A place where jobs run."""

    @property
    def at_once(self) -> int:
        """Jobs at a time."""
        ...

    def run(self, jobs: Sequence[Job], watch: Watch) -> list[str]:
        """Run all jobs and return the names of those that failed."""
        ...


@dataclass(frozen=True)
class LocalExecutor:
    """This machine."""

    at_once: int

    def run(self, jobs: Sequence[Job], watch: Watch) -> list[str]:
        """Run all jobs and return the names of those that failed."""
        return run_jobs(jobs, self.at_once, watch)


def run_jobs(jobs: Sequence[Job], at_once: int, watch: Watch) -> list[str]:
    """Run all jobs and return the names of those that failed. An interrupt ends the running ones."""
    context = multiprocessing.get_context("forkserver")  # a clean process: no threads, no CUDA, none of our locks
    context.set_forkserver_preload(PRELOAD)
    waiting, failed = left_to_run(jobs, watch)
    running: dict[ForkServerProcess, Job] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.pop(0)
                job.failed.unlink(missing_ok=True)
                process = context.Process(target=_run, args=(job,), name=job.name)
                process.start()
                running[process] = job
                watch.started(job)
            wait([process.sentinel for process in running], SECONDS_BETWEEN_LOOKS)
            watch.show()
            for process in [process for process in running if process.exitcode is not None]:
                job = running.pop(process)
                watch.ended(job, failed=bool(process.exitcode))
                assert process.exitcode is not None
                if note_end(job, process.exitcode, len(waiting) + len(running)):
                    failed.append(job.name)
    finally:
        watch.close()
        with signals_ignored():
            for process in running:
                process.terminate()
            for process in running:
                process.join(CLEAN_UP_SECONDS)
                if process.exitcode is None:
                    process.kill()
    return failed


def left_to_run(jobs: Sequence[Job], watch: Watch) -> tuple[list[Job], list[str]]:
    """Return the jobs to run, and the names of those whose training has diverged before and would again."""
    lost = [job for job in jobs if job.has_diverged]
    for job in lost:
        watch.started(job)
        watch.ended(job, failed=True)
        logger.info("%s: has diverged before", job.name)
    return [job for job in jobs if job not in lost], [job.name for job in lost]


def note_end(job: Job, status: int, left: int) -> bool:
    """Record how a job ended, and return whether it failed. status: negative for the signal that killed it."""
    if not status:
        job.failed.unlink(missing_ok=True)
        logger.info("%s: done, %d left", job.name, left)
        return False
    last = _last_line(job.log) or f"exit status {status}"
    if status < 0:
        last = f"killed by signal {-status} after: {last}"
    job.note_failure(last, status)
    logger.error("%s: failed: %s", job.name, last)
    return True


def _run(job: Job) -> None:
    """Run a job; the target of a new process."""
    exit_with_parent(STOP_SECONDS)
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log.fileno(), stream.fileno())
    _wait_for_lock(job.out)
    for verb in job.verbs:
        print("asr-parallel", *verb, flush=True)
        status = main(verb)
        if status:
            sys.exit(status)


def _wait_for_lock(out: Path) -> None:
    """Wait until nobody trains `out`: the job of a comparison that was killed writes a checkpoint before it ends."""
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        try:
            with locked(working_path(out)):
                return
        except ValueError:
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _last_line(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    return text.rstrip().rpartition("\n")[2].strip()
