"""Real trainings killed at random moments and started again end with the same network, bit for bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TIMES = ("frames_per_second", "data_wait_share")  # the only values of train.jsonl that may differ
OPTIONS = [
    *("--hidden-layers", "2", "--hidden-dim", "24", "--minibatch", "16"),
    *("--learning-rate", "0.004", "--precision", "float32"),
]
OFTEN = ["--checkpoint-frames", "160", "--report-frames", "200", "--threads", "1"]
VARIED = ["--channel-tilt", "0.1", "--channel-ripple", "0.1", "--mask-filters", "1"]


def start(frames: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    words = ["train-dnn", "--frames", str(frames), "--out", str(out), *OPTIONS, *OFTEN, *more]
    return subprocess.Popen(
        [sys.executable, "-m", "asr_parallel.cli.main", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def finish(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


def wait_for_progress(process: subprocess.Popen[str], work: Path, seconds: float) -> None:
    """Until a checkpoint is there that was not before, then some seconds more; or until the process ends."""

    def newest() -> str:
        return max((path.name for path in work.glob("checkpoints/0*")), default="")

    before, give_up = newest(), time.monotonic() + 60
    while process.poll() is None and newest() <= before and time.monotonic() < give_up:
        time.sleep(0.005)
    time.sleep(seconds)


def lines(folder: Path) -> list[dict[str, object]]:
    every = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMES} for line in every]


def same(one: Path, other: Path) -> None:
    for name in ("net.safetensors", "log_prior.npy", "net.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert lines(one) == lines(other)


@pytest.mark.timeout(280)
@pytest.mark.parametrize(
    "more",
    [
        ("--epochs", "4", "--prior", "posterior", *VARIED),
        ("--epochs", "4", "--optimizer", "adam", "--schedule", "newbob", *VARIED),
        ("--epochs", "4", "--optimizer", "momentum", "--schedule", "cyclical", "--cycle-frames", "700"),
    ],
)
def test_a_training_killed_again_and_again_ends_as_if_it_had_not_been(
    frames_folder: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(frames_folder, whole, *more))
    delays = random.Random(len(more))
    kills = 0
    for _ in range(4):
        process = start(frames_folder, killed, *more)
        wait_for_progress(process, tmp_path / "killed.training", delays.uniform(0, 0.3))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate(timeout=60)
    said = finish(start(frames_folder, killed, *more))
    assert kills >= 2
    assert "going on after" in said or "up to date" in said
    same(whole, killed)
    assert not (tmp_path / "killed.training").exists()
    assert "up to date" in finish(start(frames_folder, killed, *more))


@pytest.mark.timeout(120)
def test_a_kill_while_starting_leaves_nothing_in_the_way(frames_folder: Path, tmp_path: Path) -> None:
    for delay in (0.2, 1.0, 1.8):
        process = start(frames_folder, tmp_path / "out", "--epochs", "1")
        time.sleep(delay)
        process.kill()
        process.communicate(timeout=60)
    finish(start(frames_folder, tmp_path / "out", "--epochs", "1"))
    assert not (tmp_path / "out.training").exists()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_the_checkpoints(frames_folder: Path, tmp_path: Path, sent: signal.Signals) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        process = start(frames_folder, tmp_path / "out", "--epochs", "200")
    finally:
        signal.signal(signal.SIGINT, before)
    wait_for_progress(process, tmp_path / "out.training", 0)
    process.send_signal(sent)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and said.count("Traceback") == 0
    assert list((tmp_path / "out.training" / "checkpoints").glob("0*")) and not (tmp_path / "out").exists()


@pytest.mark.timeout(240)
def test_resume_may_be_insisted_on_or_forbidden(frames_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(frames_folder, out, "--epochs", "1", "--resume")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and said.count("\n") <= 4
    assert "no checkpoint of a training with these options and frames to go on from" in said
    assert not list(tmp_path.iterdir())

    process = start(frames_folder, out, "--epochs", "200")
    wait_for_progress(process, tmp_path / "out.training", 0)
    process.kill()
    process.communicate(timeout=60)
    process = start(frames_folder, out, "--epochs", "2", "--resume")  # other options
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and "no checkpoint of a training with these options" in said
    assert list((tmp_path / "out.training" / "checkpoints").glob("0*"))  # nothing was lost
    assert "starting anew" in finish(start(frames_folder, out, "--epochs", "2"))

    process = start(frames_folder, tmp_path / "other", "--epochs", "3")
    wait_for_progress(process, tmp_path / "other.training", 0)
    process.kill()
    process.communicate(timeout=60)
    assert "starting anew" in finish(start(frames_folder, tmp_path / "other", "--epochs", "3", "--no-resume"))


@pytest.mark.timeout(120)
def test_a_full_disk_is_one_line_and_keeps_the_last_good_checkpoint(frames_folder: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the snapshots fit, the optimiser's state does not."""
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (14_000, 14_000));"
        "from asr_parallel.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    words = ["train-dnn", "--frames", str(frames_folder), "--out", str(tmp_path / "out"), *OPTIONS, *OFTEN]
    done = subprocess.run(
        [sys.executable, "-c", limited, *words, "--epochs", "1"], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 1
    assert "cannot write" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "out.training" / "checkpoints").glob(".*"))
