"""Trainings killed at random moments and started again end with the same network, bit for bit."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fast_start import Started
from forked import Ended, run_forked

from asr_parallel.cli.main import main
from asr_parallel.training.checkpoint import TENSORS, Checkpoints, remove_work

TIMES = ("frames_per_second", "data_wait_share")  # the only values of train.jsonl that may differ
NETWORK = "--hidden-layers 2 --hidden-dim 24 --minibatch 32 --learning-rate 0.004 --precision float32 --threads 1"
OFTEN = "--checkpoint-frames 320 --report-frames 200"
VARIED = "--channel-tilt 0.1 --channel-ripple 0.1 --mask-filters 1"
NONE_TO_GO_ON_FROM = "no checkpoint of a training with these options and inputs to go on from"


def words(frames: Path, out: Path, more: str) -> list[str]:
    return ["train-dnn", "--frames", str(frames), "--out", str(out), *f"{NETWORK} {OFTEN} {more}".split()]


def train(frames: Path, out: Path, more: str, kill_at: int | None = None) -> Ended:
    return run_forked(out.with_name("notes"), main, words(frames, out, more), kill_at=kill_at)


def finish(frames: Path, out: Path, more: str) -> Ended:
    ended = train(frames, out, more)
    assert ended.status == 0, ended.said
    return ended


def cut_off(frames: Path, out: Path, more: str, kill_at: int = 100) -> Path:
    """The folder of a training that was killed and has checkpoints."""
    assert train(frames, out, more, kill_at).status == -signal.SIGKILL
    assert int(checkpoints(out)[-1].name) > 0
    return out.with_name(f"{out.name}.training")


def checkpoints(out: Path) -> list[Path]:
    return sorted(out.with_name(f"{out.name}.training").glob("checkpoints/0*"))


def start_really(frames: Path, out: Path, more: str) -> subprocess.Popen[str]:
    """The real thing: a process of its own from its first import on."""
    return subprocess.Popen(
        [sys.executable, "-m", "asr_parallel.cli.main", *words(frames, out, more)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def wait_for_a_new_checkpoint(process: subprocess.Popen[str] | Started, out: Path) -> None:
    """Another than that of the beginning; or until the process ends."""
    before, give_up = (
        checkpoints(out)[-1:] or [out.with_name(f"{out.name}.training") / "checkpoints" / f"{0:012d}"],
        (time.monotonic() + 60),
    )
    while process.poll() is None and checkpoints(out)[-1:] <= before and time.monotonic() < give_up:
        time.sleep(0.002)


def lines(folder: Path) -> list[dict[str, object]]:
    every = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMES} for line in every]


def same(one: Path, other: Path) -> None:
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in other.iterdir())
    for name in ("net.safetensors", "log_prior.npy", "net.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert lines(one) == lines(other)


@pytest.mark.parametrize(
    "more",
    [
        f"--epochs 2 --optimizer ng-sgd --prior posterior {VARIED}",
        f"--epochs 3 --optimizer adam --schedule newbob {VARIED}",
        "--epochs 2 --optimizer momentum --schedule cyclical --cycle-frames 700 --held-out-by speaker",
        "--epochs 1 --optimizer sgd --schedule constant --combine 0",
        f"--epochs 2 --algorithm async-elastic --workers 3 --period 3 --optimizer nesterov --sim-jitter 0.3 {VARIED}",
        "--epochs 4 --workers 2 --period 2 --combine 3 --combine-epochs 2 --ema 0.9",
        "--epochs 2 --workers 2 --period 1 --qsr-alpha 0.1 --overlap",
        f"--epochs 3 --workers 3 --workers-first 1 --period 3 --overlap {VARIED}",
        "--epochs 2 --algorithm adownpour --workers 2 --period 2 --sim-straggler 3",
        "--epochs 1 --algorithm mdownpour --workers 3 --sim-bandwidth 1e6",
    ],
)
def test_a_training_killed_again_and_again_ends_as_if_it_had_not_been(
    frames_folder: Path, tmp_path: Path, more: str
) -> None:
    steps = finish(frames_folder, tmp_path / "whole", more).steps
    choose = random.Random(len(more))
    # The first kill falls in the middle, where there are checkpoints, the others anywhere in what begins from them.
    said = train(frames_folder, tmp_path / "killed", more, choose.randint(steps // 2, 2 * steps // 3)).said
    assert checkpoints(tmp_path / "killed"), said
    for _ in range(3):
        ended = train(frames_folder, tmp_path / "killed", more, choose.randint(1, steps // 3))
        assert ended.status in (0, -signal.SIGKILL), ended.said
        said += ended.said
    said += finish(frames_folder, tmp_path / "killed", more).said
    assert "going on after" in said
    same(tmp_path / "whole", tmp_path / "killed")
    assert not (tmp_path / "killed.training").exists()


SHORT = "--epochs 1 --combine 3"


@pytest.fixture(scope="module")
def whole(frames_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A SHORT training that was never killed, and the steps it took."""
    out = tmp_path_factory.mktemp("short") / "whole"
    return out, finish(frames_folder, out, SHORT).steps


def test_a_kill_near_the_end_costs_nothing(frames_folder: Path, tmp_path: Path, whole: tuple[Path, int]) -> None:
    """While the models are combined, the result is written and put in its place, or the checkpoints are removed."""
    more, out = SHORT, tmp_path / "killed"
    work = cut_off(frames_folder, out, more, whole[1] - 60)
    shutil.copytree(work, tmp_path / "kept")
    last = train(frames_folder, out, more).steps
    for kill_at in random.Random(0).sample(range(1, last + 1), 4):
        for path in (out, work):
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(tmp_path / "kept", work)
        assert train(frames_folder, out, more, kill_at).status == -signal.SIGKILL
        finish(frames_folder, out, more)
        same(whole[0], out)
        assert {path.name for path in tmp_path.iterdir()} == {"killed", "kept", "notes"}


@pytest.mark.timeout(120)
def test_real_processes_killed_by_the_clock(frames_folder: Path, tmp_path: Path) -> None:
    """At moments that no step marks: in the imports, in a minibatch, in the middle of writing a file."""
    more, out = f"--epochs 4 {VARIED}", tmp_path / "killed"
    finish(frames_folder, tmp_path / "whole", more)
    choose = random.Random(0)
    for wait in (False, True, True):
        process = Started(words(frames_folder, out, more)) if wait else start_really(frames_folder, out, more)
        if wait:
            wait_for_a_new_checkpoint(process, out)
        time.sleep(choose.uniform(0, 0.2))
        process.kill()
        process.communicate(timeout=60)
    said = finish(frames_folder, out, more).said
    assert "going on after" in said or "up to date" in said
    same(tmp_path / "whole", out)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_the_checkpoints(frames_folder: Path, tmp_path: Path, sent: signal.Signals) -> None:
    process = Started(words(frames_folder, tmp_path / "out", "--epochs 1000"))
    wait_for_a_new_checkpoint(process, tmp_path / "out")
    process.send_signal(sent)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + sent and "Traceback" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.training"]
    newest = Checkpoints(tmp_path / "out.training" / "checkpoints").newest()
    assert newest is not None and newest.frames > 0
    assert said.splitlines()[-1].startswith("asr-parallel train-dnn: interrupted")
    assert f"goes on from the checkpoint after {newest.frames} frames" in said.splitlines()[-1]


def test_resume_insists_on_a_checkpoint(frames_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = train(frames_folder, out, "--resume")
    assert ended.status == 1 and NONE_TO_GO_ON_FROM in ended.said.splitlines()[-1]
    assert ended.said.count("error") == 1
    shutil.rmtree(tmp_path / "notes")
    assert not list(tmp_path.iterdir())

    work = cut_off(frames_folder, out, "--epochs 2")
    kept = checkpoints(out)
    ended = train(frames_folder, out, "--epochs 3 --resume")
    assert ended.status == 1 and "--epochs 2 (now 3)" in ended.said.splitlines()[-1]
    assert checkpoints(out) == kept  # nothing was lost
    assert (
        f"{work}: going on after {int(kept[-1].name)} frames" in finish(frames_folder, out, "--epochs 2 --resume").said
    )
    for more in ("", "--resume", "--no-resume"):
        ended = finish(frames_folder, out, f"--epochs 2 {more}")
        assert "up to date" in ended.said and not work.exists()


def test_another_training_starts_anew_and_the_old_one_is_kept(frames_folder: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "frames"
    shutil.copytree(frames_folder, other)
    index = json.loads((other / "index.json").read_text())
    (other / "index.json").write_text(json.dumps({**index, "speakers": index["ids"]}))
    for frames, more, changed in (
        (frames_folder, "--epochs 1 --seed 1", "--seed 0 (now 1)"),
        (other, "--epochs 1", "frames of other contents"),
        (frames_folder, "--epochs 1 --no-resume", None),
    ):
        work = cut_off(frames_folder, out, "--epochs 1")
        last = int(checkpoints(out)[-1].name)
        ended = train(frames, out, more, kill_at=40)
        assert "going on" not in ended.said
        kept = tmp_path / "out.training.kept-1"
        if changed is None:
            assert f"{work}: starting anew" in ended.said and not kept.exists()
            continue
        assert changed in ended.said and f"kept as {kept}" in ended.said
        assert int(sorted(kept.glob("checkpoints/0*"))[-1].name) == last
        ended = train(frames_folder, out, "--epochs 1", kill_at=40)  # the command of then again
        assert f"{work}: going on after {last} frames" in ended.said and not kept.exists()


def test_a_damaged_checkpoint_costs_but_the_way_from_the_one_before(
    frames_folder: Path, tmp_path: Path, whole: tuple[Path, int]
) -> None:
    more, out = SHORT, tmp_path / "out"
    work = cut_off(frames_folder, out, more)
    older, newer = checkpoints(out)[-2:]
    newer.joinpath(TENSORS).write_bytes(newer.joinpath(TENSORS).read_bytes()[:-7])
    ended = finish(frames_folder, out, more)
    assert f"checkpoint left out: {newer}" in ended.said and f"going on after {int(older.name)} frames" in ended.said
    same(whole[0], out)

    shutil.rmtree(out)
    cut_off(frames_folder, out, more)
    for folder in checkpoints(out):
        folder.joinpath(TENSORS).write_bytes(b"")
    ended = train(frames_folder, out, more)
    assert ended.status == 1 and "checkpoints can be read" in ended.said.splitlines()[-1]
    finish(frames_folder, out, f"{more} --no-resume")
    same(whole[0], out)
    assert not work.exists()


def test_a_training_is_removed_at_once_or_not_at_all(tmp_path: Path) -> None:
    """Its checkpoints without its train.jsonl, say, would be gone on from."""
    work, names = tmp_path / "out.training", [f"file{k}" for k in range(5)]
    steps, status = 0, -signal.SIGKILL
    while status == -signal.SIGKILL:
        work.mkdir(exist_ok=True)
        for name in names:
            (work / name).touch()
        steps += 1
        status = run_forked(tmp_path / "notes", remove_work, work, kill_at=steps).status
        assert not work.exists() or sorted(path.name for path in work.iterdir()) == names
    assert status == 0 and steps > 5
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_a_folder_of_another_kind_is_not_replaced(frames_folder: Path, tmp_path: Path) -> None:
    thesis = tmp_path / "out.training" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    for more in ("", "--no-resume"):
        ended = train(frames_folder, tmp_path / "out", f"--epochs 1 {more}")
        assert ended.status == 1 and "holds no training.json; not replaced" in ended.said.splitlines()[-1]
    (thesis.parent / "training.json").write_text("[]")
    ended = train(frames_folder, tmp_path / "out", "--epochs 1")
    assert ended.status == 1 and "training.json: does not describe a training" in ended.said.splitlines()[-1]
    assert thesis.read_text() == "years of work" and not (tmp_path / "out").exists()


def limited(size: int, arguments: list[str]) -> int:
    """A limit on the size of files stands for a full disk."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return main(arguments)


def test_a_full_disk_is_one_line_and_keeps_the_last_good_checkpoint(
    frames_folder: Path, tmp_path: Path, whole: tuple[Path, int]
) -> None:
    out = tmp_path / "out"
    cut_off(frames_folder, out, SHORT)
    kept = checkpoints(out)
    for size, rarely, what in (
        (14_000, "", "cannot write a checkpoint: File too large"),  # models fit, the optimiser's state does not
        (4_000, "--checkpoint-frames 100000", "File too large"),  # nor does a model kept for the combination
    ):
        ended = run_forked(tmp_path / "notes", limited, size, words(frames_folder, out, f"{SHORT} {rarely}"))
        last = ended.said.splitlines()[-1]
        assert ended.status == 1 and what in last and "out.training" in last and "Traceback" not in ended.said
        assert ("models" in last) == bool(rarely)
        assert checkpoints(out) == kept and not out.exists()
        assert not list((tmp_path / "out.training" / "checkpoints").glob(".*"))
    finish(frames_folder, out, SHORT)
    same(whole[0], out)
