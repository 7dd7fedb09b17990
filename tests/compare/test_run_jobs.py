"""Jobs of a comparison, in real processes."""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from fast_start import Started
from live_processes import alive, children

from asr_parallel.compare.run_jobs import Job
from asr_parallel.compare.run_jobs import run_jobs as run_watched_jobs
from asr_parallel.compare.watch import Expected, JobWatch
from asr_parallel.training.divergence import DIVERGED

SMALL = ["--hidden-layers", "1", "--hidden-dim", "8", "--combine", "0", "--minibatch", "32", "--threads", "1"]


def job(folder: Path, name: str, frames: Path, epochs: int = 1) -> Job:
    often = ("--epochs", str(epochs), "--checkpoint-frames", "3200")
    verb = ("train-dnn", "--frames", str(frames), "--out", str(folder / name), *SMALL, *often)
    return Job(name, (verb,), folder / f"{name}.log", folder / f"{name}.failed.json", folder / name)


def run_jobs(jobs: list[Job], at_once: int) -> list[str]:
    return run_watched_jobs(
        jobs, at_once, JobWatch("jobs", jobs, {job.name: Expected(1, 1.0) for job in jobs}, at_once)
    )


def forked(jobs: list[Job], at_once: int) -> Started:
    """A comparison whose jobs are forked from a process that has imported everything; it says which of them failed."""
    return Started([], program=partial(_run_jobs, jobs, at_once))


def failed(jobs: list[Job], at_once: int = 2) -> str:
    said, _ = forked(jobs, at_once).communicate(200)
    return said.splitlines()[-1]


def _run_jobs(jobs: list[Job], at_once: int, words: list[str]) -> None:
    print(run_jobs(jobs, at_once))


@pytest.mark.timeout(200)
def test_one_that_fails_stops_no_other_and_says_why(tmp_path: Path, frames_folder: Path) -> None:
    bad, good = job(tmp_path, "bad", tmp_path / "nowhere"), job(tmp_path, "good", frames_folder)
    good.failed.write_text('{"last": "no space left", "status": 1}')
    assert good.failure == "no space left"
    assert run_jobs([bad, good], at_once=1) == ["bad"]
    assert bad.failure is not None and "nowhere" in bad.failure and "error" in bad.failure
    assert good.failure is None  # any more
    assert (tmp_path / "good" / "net.safetensors").is_file()
    assert "train-dnn" in good.log.read_text()


@pytest.mark.timeout(200)
def test_one_that_diverges_with_a_finite_loss_says_so_and_leaves_no_network(
    tmp_path: Path, frames_folder: Path
) -> None:
    good = job(tmp_path, "good", frames_folder)
    wild = "--optimizer sgd --learning-rate 10 --max-change 0 --max-change-output 0 --max-param-change 0"
    bad = replace(good, name="bad", verbs=((*good.verbs[0], "--out", str(tmp_path / "bad"), *wild.split()),))
    bad = replace(bad, log=tmp_path / "bad.log", failed=tmp_path / "bad.failed.json")
    assert failed([bad, good], at_once=1) == "['bad']"
    assert bad.failure is not None and f"{DIVERGED}: held-out loss" in bad.failure
    assert (tmp_path / "good" / "net.safetensors").is_file() and not (tmp_path / "bad").exists()


@pytest.mark.timeout(200)
def test_what_has_diverged_is_not_trained_again_unless_it_is_another_training(
    tmp_path: Path, frames_folder: Path
) -> None:
    wild = job(tmp_path, "wild", tmp_path / "nowhere")
    wild.note_failure(f"{DIVERGED}: held-out loss 4e+32", 1)
    assert run_jobs([wild], at_once=1) == ["wild"] and not wild.log.exists()
    tame = replace(wild, verbs=((*wild.verbs[0], "--learning-rate", "0.001"),))
    assert tame.failure is not None and not tame.has_diverged
    assert run_jobs([tame], at_once=1) == ["wild"] and "nowhere" in tame.log.read_text()
    wild.note_failure("no space left", 1)
    assert not wild.has_diverged


@pytest.mark.timeout(300)
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds its processes in /proc")
def test_what_was_killed_goes_on_where_it_was(tmp_path: Path, frames_folder: Path) -> None:
    """The job under way ends with the comparison, after a checkpoint."""
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    for folder in (undisturbed, killed):
        folder.mkdir()
    names = {"first": 1, "second": 8, "third": 1}
    jobs = [job(killed, name, frames_folder, epochs) for name, epochs in names.items()]
    process = forked(jobs, at_once=1)
    while process.poll() is None and not list(killed.glob("second.training/checkpoints/0*[1-9]*")):
        time.sleep(0.01)
    assert process.poll() is None
    jobs_of_it = children(process.pid)
    process.kill()
    process.wait()
    while any(alive(pid) for pid in jobs_of_it):  # the test's time limit ends it
        time.sleep(0.05)
    assert not (killed / "second").exists() and not (killed / "third").exists()
    made = (killed / "first" / "stage.json").stat().st_mtime_ns
    assert failed(jobs) == "[]"
    assert (killed / "first" / "stage.json").stat().st_mtime_ns == made
    assert ": going on after " in (killed / "second.log").read_text()
    went_on = ["went_on_after_frames" in (killed / name / "training.json").read_text() for name in names]
    assert went_on == [False, True, False]
    assert failed([job(undisturbed, name, frames_folder, epochs) for name, epochs in names.items()]) == "[]"
    for name in names:
        nets = [(folder / name / "net.safetensors").read_bytes() for folder in (undisturbed, killed)]
        assert nets[0] == nets[1]
