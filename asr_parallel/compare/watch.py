"""Watching jobs: how many are done, how far the running ones are, when all will be."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from asr_parallel.compare.run_jobs import Job
from asr_parallel.record.json_lines import read_json_lines
from asr_parallel.record.log import logger
from asr_parallel.record.stage import RECORD
from asr_parallel.training.run_training import working_path
from asr_parallel.training.train_lines import LINES, TRAIN

SECONDS_BETWEEN_LINES = 60.0  # trainings take minutes to hours


@dataclass(frozen=True)
class Expected:
    """The size of a job. frames: of its training, over all epochs. seconds: predicted, or anything proportional."""

    frames: int
    seconds: float


@dataclass(frozen=True)
class Running:
    """A training that is under way. frames: so far, of all epochs. loss: of the last minibatches, nats a frame."""

    frames: int
    loss: float | None
    frames_per_second: float


def look(out: Path) -> Running | None:
    """Return how far the training is whose network will be `out`; None where it has not reported yet."""
    path = working_path(out) / LINES
    if not path.is_file():
        return None
    lines = [line for line in read_json_lines(path) if line["kind"] == TRAIN]
    if not lines:
        return None
    last = lines[-1]
    return Running(last["frames"], last.get("loss"), last["frames_per_second"])


class JobWatch:
    """A bar on a terminal, and lines in a log, about jobs whose first verb is a training."""

    def __init__(self, title: str, jobs: Sequence[Job], expected: Mapping[str, Expected], at_once: int) -> None:
        """Begin to watch. expected: by the job's name."""
        self._title, self._expected, self._at_once = title, expected, at_once
        self._left = {job.name: job for job in jobs}
        self._total, self._failed = len(jobs), 0
        # Those that are there already end at once and say nothing of the speed
        self._cached = {job.name for job in jobs if (job.out / RECORD).is_file()}
        self._started: dict[str, float] = {}
        self._taken = self._predicted = 0.0
        self._last_line = time.monotonic()
        self._bar = tqdm(total=self._total, desc=title, leave=False) if sys.stderr.isatty() else None

    def started(self, job: Job) -> None:
        """Note that a job runs."""
        self._started[job.name] = time.monotonic()

    def ended(self, job: Job, failed: bool) -> None:
        """Note that a job has ended."""
        seconds = time.monotonic() - self._started.pop(job.name)
        del self._left[job.name]
        self._failed += failed
        if job.name not in self._cached and not failed:
            self._taken += seconds
            self._predicted += self._expected[job.name].seconds
        if self._bar is not None:
            self._bar.update()

    def show(self) -> None:
        """Show the state: at once on a terminal, now and then in a log."""
        now = time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix_str(self.text())
        elif now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            logger.info("%s: %s", self._title, self.text())

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()

    def text(self) -> str:
        """Return the state in a line: jobs done and failed, the running ones, the time left."""
        parts = [f"{self._total - len(self._left)} of {self._total} done"]
        parts += [f"{self._failed} failed"] if self._failed else []
        left = sum(self._expected[name].seconds for name in self._left if name not in self._cached)
        for name in self._started:
            found, expected = look(self._left[name].out), self._expected[name]
            if found is None:
                parts.append(name)
                continue
            share = min(1.0, found.frames / expected.frames)
            left -= share * expected.seconds
            loss = "" if found.loss is None else f", loss {found.loss:.3f}"
            parts.append(f"{name} {100 * share:.0f} %{loss}, {found.frames_per_second:,.0f} frames/s")
        if self._predicted:
            parts.append(f"{_duration(left * self._taken / self._predicted / self._at_once)} left")
        return "; ".join(parts)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"about {minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"about {max(1, minutes)} min"
