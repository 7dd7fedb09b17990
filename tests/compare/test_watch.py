"""Jobs as they are shown while they run."""

import json
import logging
from pathlib import Path

import pytest

from asr_parallel.compare import watch
from asr_parallel.compare.run_jobs import Job
from asr_parallel.compare.watch import Expected, JobWatch, look


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(watch, "time", clock)
    return clock


def jobs(folder: Path, names: str) -> list[Job]:
    return [Job(name, (), folder / "log", folder / "failed", folder / name) for name in names]


def trained(out: Path, frames: int, loss: float | None) -> None:
    work = out.with_name(f"{out.name}.training")
    work.mkdir(exist_ok=True)
    line = {"kind": "train", "frames": frames, "loss": loss, "frames_per_second": 1234.5}
    held_out = {"kind": "held-out", "frames": frames, "loss": 9.0}
    (work / "train.jsonl").write_text(json.dumps(line) + "\n" + json.dumps(held_out) + "\n{cut o")


def test_done_failed_running_and_the_time_left(tmp_path: Path, clock: Clock) -> None:
    all_jobs = jobs(tmp_path, "abcd")
    expected = {"a": Expected(100, 10.0), "b": Expected(100, 10.0), "c": Expected(100, 20.0), "d": Expected(100, 40.0)}
    shown = JobWatch("comparison", all_jobs, expected, at_once=2)
    a, b, c, _ = all_jobs
    shown.started(a)
    shown.started(b)
    assert shown.text() == "0 of 4 done; a; b"
    clock.now += 300  # thirty times as long as predicted
    shown.ended(a, failed=False)
    shown.ended(b, failed=True)
    shown.started(c)
    trained(tmp_path / "c", 50, 1.5)
    # Half of c and all of d: 50 predicted seconds, so 1500, two at a time
    assert shown.text() == "2 of 4 done; 1 failed; c 50 %, loss 1.500, 1,234 frames/s; about 12 min left"


def test_what_was_there_before_says_nothing_of_the_time(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "stage.json").write_text("{}")
    a, b = all_jobs = jobs(tmp_path, "ab")
    shown = JobWatch("comparison", all_jobs, {name: Expected(100, 3600.0) for name in "ab"}, at_once=1)
    shown.started(a)
    clock.now += 1
    shown.ended(a, failed=False)
    assert shown.text() == "1 of 2 done"
    shown.started(b)
    clock.now += 7200
    trained(tmp_path / "b", 100, None)
    assert shown.text() == "1 of 2 done; b 100 %, 1,234 frames/s"
    shown.ended(b, failed=False)
    assert shown.text() == "2 of 2 done; about 1 min left"


def test_a_line_a_minute_in_a_log(tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    shown = JobWatch("tuning", jobs(tmp_path, "a"), {"a": Expected(1, 1.0)}, at_once=1)
    for _ in range(40):
        clock.now += 2
        shown.show()
    shown.close()
    assert sum("tuning: 0 of 1 done" in line for line in caplog.messages) == 1


def test_a_training_that_has_not_reported(tmp_path: Path) -> None:
    assert look(tmp_path / "a") is None
    (tmp_path / "a.training").mkdir()
    (tmp_path / "a.training" / "train.jsonl").write_text("")
    assert look(tmp_path / "a") is None
