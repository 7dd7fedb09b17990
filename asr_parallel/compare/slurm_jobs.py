"""Jobs of a comparison on a cluster: each is a batch script of Slurm that runs its verbs one after the other.

Nodes share the disk with this process. A script writes its exit status beside its log, so that nothing has to be asked
of Slurm but whether a job is still known to it. Jobs are left in the queue when this process is interrupted: started
again, it waits for those that Slurm still has, and finds what the others have done, as verbs are cached. (submitit
would start them by pickles, which are never loaded here.)
"""

import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_parallel.compare.run_jobs import SECONDS_BETWEEN_LOOKS, Job, Watch, left_to_run, note_end
from asr_parallel.record.files import write_text
from asr_parallel.record.log import logger

LOST = 1  # status of a job that Slurm ended: cancelled, out of time or memory
LOST_AFTER_SECONDS = 60.0  # a job unknown to Slurm without a status: network disks show files late


@dataclass(frozen=True)
class SlurmExecutor:
    """A cluster. at_once: jobs in its queue. options: of sbatch: partition, cores, memory, GPUs."""

    at_once: int
    options: tuple[str, ...] = ()

    def run(self, jobs: Sequence[Job], watch: Watch) -> list[str]:
        """Run all jobs and return the names of those that failed; ValueError where sbatch refuses one."""
        return run_slurm_jobs(jobs, self.at_once, watch, self.options)


def run_slurm_jobs(jobs: Sequence[Job], at_once: int, watch: Watch, options: Sequence[str]) -> list[str]:
    """Submit jobs, at most so many at a time, wait for all, and return the names of those that failed.

    Raises:
        ValueError: sbatch is not there, or refuses a job; with what it says.
    """
    waiting, failed = left_to_run(jobs, watch)
    queued: dict[str, Job] = {}
    missing_since: dict[str, float] = {}
    try:
        while waiting or queued:
            while waiting and len(queued) < at_once:
                job = waiting.pop(0)
                queued[_submit(job, options)] = job
                watch.started(job)
            time.sleep(SECONDS_BETWEEN_LOOKS)
            watch.show()
            known = _known(queued)
            for number, job in list(queued.items()):
                status = _status(job)
                if known is None or number in known:  # None: Slurm gave no answer
                    missing_since.pop(number, None)
                elif status is None:
                    since = missing_since.setdefault(number, time.monotonic())
                    status = LOST if time.monotonic() - since > LOST_AFTER_SECONDS else None
                if status is not None:
                    del queued[number]
                    watch.ended(job, failed=status != 0)
                    if note_end(job, status, len(waiting) + len(queued)):
                        failed.append(job.name)
    finally:
        watch.close()
        if queued:
            logger.warning("%d jobs are left in Slurm's queue: %s", len(queued), " ".join(queued))
    return failed


def script_of(job: Job, options: Sequence[str]) -> str:
    """Return the batch script of a job."""
    program = [sys.executable, "-m", "asr_parallel.cli.main"]
    verbs = [shlex.join([*program, *verb]) for verb in job.verbs]
    head = [f"#SBATCH --job-name={shlex.quote(job.name)}", f"#SBATCH --output={_pattern(job.log)}"]
    head += ["#SBATCH --open-mode=append", f"#SBATCH --chdir={shlex.quote(str(Path.cwd()))}"]
    head += [f"#SBATCH {option}" for option in options]
    status = shlex.quote(str(_status_path(job).resolve()))
    body = [f"(set -e; {'; '.join(verbs)})", f"echo $? > {status}.new && mv {status}.new {status}"]
    return "\n".join(["#!/usr/bin/env bash", *head, *body]) + "\n"


def _submit(job: Job, options: Sequence[str]) -> str:
    """Submit a job and return its number, or that of an earlier run's same job that Slurm still has."""
    script, number = job.log.with_suffix(".sbatch"), job.log.with_suffix(".number")
    if number.is_file() and (earlier := number.read_text().strip()) in (_known([earlier]) or ()):
        if script.read_text() == script_of(job, options):
            return earlier
        subprocess.run(["scancel", earlier], capture_output=True)  # it has options that are no longer asked for
    job.failed.unlink(missing_ok=True)
    job.log.parent.mkdir(parents=True, exist_ok=True)
    _status_path(job).unlink(missing_ok=True)
    write_text(script, script_of(job, options))
    try:
        done = subprocess.run(["sbatch", "--parsable", str(script)], capture_output=True, text=True)
    except FileNotFoundError as error:
        raise ValueError("no sbatch on this machine; expected a login node of Slurm, or --executor local") from error
    if done.returncode:
        raise ValueError(f"sbatch {script}: {' '.join(done.stderr.split()) or f'status {done.returncode}'}")
    write_text(number, done.stdout.split(";")[0].strip())  # the rest is the name of the cluster
    return number.read_text()


def _known(numbers: Iterable[str]) -> set[str] | None:
    """Return the numbers of the jobs that are queued or running; None where Slurm does not answer."""
    done = subprocess.run(
        ["squeue", "--noheader", "--format=%i", f"--jobs={','.join(numbers)}"], capture_output=True, text=True
    )
    if done.returncode and "Invalid job id" not in done.stderr:  # which a single job that has ended is
        return None
    return set(done.stdout.split())


def _pattern(log: Path) -> str:
    """Return a file for sbatch, which takes what follows a % for a job's number and the like."""
    return shlex.quote(str(log.resolve()).replace("%", "%%"))


def _status_path(job: Job) -> Path:
    return job.log.with_suffix(".status")


def _status(job: Job) -> int | None:
    """Return the exit status that a job's script wrote; None: it has not ended."""
    path = _status_path(job)
    return int(path.read_text()) if path.is_file() else None
