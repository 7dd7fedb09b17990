"""Two runs of one training, moved trainings, and trainings on another disk."""

import json
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fast_start import Started

from asr_parallel.cli.main import main

OPTIONS = "--hidden-layers 1 --hidden-dim 8 --minibatch 32 --precision float32 --threads 1 --checkpoint-frames 320"
SHORT = f"{OPTIONS} --report-frames 320 --epochs 2 --combine 0"
LONG = f"{OPTIONS} --report-frames 320 --epochs 100000 --combine 0"


def words(frames: Path, out: Path, more: str) -> list[str]:
    return ["train-dnn", "--frames", str(frames), "--out", str(out), *more.split()]


@contextmanager
def training(frames: Path, out: Path, more: str = "") -> Iterator[Started]:
    """A training that goes on and on, after a checkpoint of something trained, or one more."""
    checkpoints = out.with_name(f"{out.name}.training") / "checkpoints"
    before = set(checkpoints.glob("0*[1-9]*"))
    with Started(words(frames, out, f"{LONG} {more}")) as process:
        try:
            deadline = time.monotonic() + 90
            while not set(checkpoints.glob("0*[1-9]*")) - before:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            yield process
        finally:
            process.kill()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("more", ["", "--workers 2 --processes 2 --period 2"], ids=["alone", "two processes"])
def test_a_second_training_of_one_folder_is_refused_at_once(
    frames_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: str
) -> None:
    out, work = tmp_path / "out", tmp_path / "out.training"
    with training(frames_folder, out, more) as first:
        holder = json.loads((tmp_path / ".out.training.lock").read_text())
        assert (holder["pid"] == first.pid) is (not more) and holder["host"] == socket.gethostname()
        for other in (f"{LONG} {more}", f"{LONG} {more} --seed 7", f"{LONG} {more} --seed 7 --no-resume", SHORT):
            assert main(words(frames_folder, out, other)) == 1
            errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
            assert len(errors) == 1 and f"process {holder['pid']} on {holder['host']}" in errors[0]
        assert first.poll() is None
        first.send_signal(signal.SIGINT)
        first.wait(60)
    lines = [json.loads(line) for line in (work / "train.jsonl").read_text().splitlines()]
    frames = [line["frames"] for line in lines if line["kind"] == "train"]
    assert frames == sorted(set(frames)) and len(frames) > 1
    assert json.loads((work / "training.json").read_text())["identity"]["options"]["seed"] == 0


@pytest.mark.timeout(120)
def test_a_killed_training_is_gone_on_with_where_it_was_moved(
    frames_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old"
    frames = shutil.copytree(frames_folder, old / "frames")
    with training(frames, old / "dnn") as first:
        first.send_signal(signal.SIGKILL)
    copy = shutil.copytree(old, tmp_path / "copy" / "exp", copy_function=shutil.copyfile)
    moved = old.rename(tmp_path / "moved")
    for exp in (moved, copy):
        with training(exp / "frames", exp / "dnn", "--resume") as again:
            again.send_signal(signal.SIGINT)
            again.wait(60)
        assert "went_on_after_frames" in json.loads((exp / "dnn.training" / "training.json").read_text())
    assert main(words(moved / "frames", moved / "dnn", f"{LONG} --seed 3 --resume")) == 1
    assert "is of a training with --seed" in capsys.readouterr().err


@pytest.mark.timeout(120)
@pytest.mark.parametrize("there", [True, False])
def test_links_to_a_larger_disk_stay(
    frames_folder: Path, tmp_path: Path, there: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    out, large = tmp_path / "exp" / "out", tmp_path / "large"
    out.parent.mkdir()
    for name in ("out", "out.training"):
        (out.parent / name).symlink_to(large / name)
        if there:
            (large / name).mkdir(parents=True)
    with training(frames_folder, out):
        assert (large / "out.training" / "training.json").is_file()
        assert main(words(frames_folder, out, f"{SHORT} --seed 1")) == 1
        assert "is making it" in capsys.readouterr().err
    for seed in (0, 1):
        assert main(words(frames_folder, out, f"{SHORT} --seed {seed}")) == 0
        assert all((out.parent / name).is_symlink() for name in ("out", "out.training"))
        assert (large / "out" / "stage.json").is_file() and not (large / "out.training").exists()
        assert sorted(path.name for path in out.parent.iterdir()) == ["out", "out.training"]
    kept = "out.training.kept-1"  # the first one, which was to have other epochs
    assert sorted(path.name for path in large.iterdir()) == ["out", kept]


@pytest.mark.timeout(120)
def test_a_stack_of_rbms_too(frames_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, large = tmp_path / "rbm", tmp_path / "large"
    out.symlink_to(large)
    pretrain = ["pretrain-rbm", "--frames", str(frames_folder), "--out", str(out), "--layers", "1", "--minibatch", "32"]
    pretrain += ["--hidden-dim", "8", "--threads", "1", "--precision", "float32", "--checkpoint-frames", "320"]
    with Started([*pretrain, "--epochs", "100000"]) as first:
        try:
            deadline = time.monotonic() + 90
            while not list(large.glob("1.training/checkpoints/0*")):
                assert first.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            assert main([*pretrain, "--epochs", "1"]) == 1
            assert f"process {first.pid} on {socket.gethostname()}" in capsys.readouterr().err.splitlines()[-1]
        finally:
            first.kill()
    assert main([*pretrain, "--epochs", "1"]) == 0
    assert out.is_symlink() and (large / "1" / "stage.json").is_file()
