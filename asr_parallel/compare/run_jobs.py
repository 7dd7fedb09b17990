"""Runs jobs, each a few verbs of the program one after the other, some at a time; one that fails stops no other.

Verbs are cached by what they make, and unfinished trainings go on where they were: so a comparison that was killed
does, when it is started again.
"""

import multiprocessing
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from asr_parallel.record.child_processes import STOP_SECONDS, follow_the_parent
from asr_parallel.record.files import read_json, write_json
from asr_parallel.record.interrupt import signals_ignored
from asr_parallel.record.log import logger
from asr_parallel.record.program import main

CLEAN_UP_SECONDS = STOP_SECONDS + 10.0  # for a job whose own processes have STOP_SECONDS to end in


@dataclass(frozen=True)
class Job:
    """Verbs with their arguments; what they say goes to `log`, and `failed` is there while the last try has failed."""

    name: str
    verbs: tuple[tuple[str, ...], ...]
    log: Path
    failed: Path

    @property
    def failure(self) -> str | None:
        """The last line of the log of a try that failed."""
        return str(read_json(self.failed)["last"]) if self.failed.is_file() else None


def run_jobs(jobs: Sequence[Job], at_once: int) -> list[str]:
    """Run them all; returns the names of those that failed. Ends them all when it is interrupted itself."""
    context = multiprocessing.get_context("spawn")
    waiting, running, failed = list(jobs), dict[SpawnProcess, Job](), []
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.pop(0)
                process = context.Process(target=_run, args=(job,), name=job.name)
                process.start()
                running[process] = job
            wait([process.sentinel for process in running])
            for process in [process for process in running if process.exitcode is not None]:
                job = running.pop(process)
                if process.exitcode:
                    last = _last_line(job.log) or f"exit status {process.exitcode}"
                    if process.exitcode < 0:
                        last = f"killed by signal {-process.exitcode} after: {last}"
                    write_json(job.failed, {"last": last, "status": process.exitcode})
                    failed.append(job.name)
                    logger.error("%s: failed: %s", job.name, last)
                else:
                    job.failed.unlink(missing_ok=True)
                    logger.info("%s: done, %d left", job.name, len(waiting) + len(running))
    finally:
        with signals_ignored():
            for process in running:
                process.terminate()
            for process in running:
                process.join(CLEAN_UP_SECONDS)
                if process.exitcode is None:
                    process.kill()
    return failed


def _run(job: Job) -> None:
    """Run a job in a process of its own."""
    follow_the_parent(STOP_SECONDS)
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log.fileno(), stream.fileno())
    for verb in job.verbs:
        print("asr-parallel", *verb, flush=True)
        status = main(verb)
        if status:
            sys.exit(status)


def _last_line(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    return text.rstrip().rpartition("\n")[2].strip()
