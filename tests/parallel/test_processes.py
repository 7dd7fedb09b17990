"""Several workers in several real processes: the same model, killed or not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from fast_start import Started
from live_processes import children
from safetensors.torch import load_file

NETWORK = "--hidden-layers 2 --hidden-dim 16 --learning-rate 0.002 --precision float32 --threads 1 --timeout 20"
SECONDS = 120
MPI_RANKS = 2
PROGRAM = [sys.executable, "-m", "asr_parallel.cli.main"]
Running = subprocess.Popen[str] | Started


def words(frames: Path, out: Path, more: str) -> list[str]:
    base = ["train-dnn", "--frames", str(frames), "--out", str(out), *NETWORK.split()]
    return [*PROGRAM, *base, *more.split()]


def start(command: list[str], **environment: str) -> Running:
    """Run a command; `asr-parallel` without its imports, which take seconds."""
    if command[: len(PROGRAM)] == PROGRAM:
        return Started(command[len(PROGRAM) :], environment)
    return start_really(command, **environment)


def start_really(command: list[str], **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )  # fmt: skip


def finish(process: Running) -> str:
    try:
        said, _ = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert process.returncode == 0, said
    return said


def distance(one: Path, other: Path) -> float:
    """Largest relative distance of two networks' tensors."""
    a, b = load_file(one / "net.safetensors"), load_file(other / "net.safetensors")
    return max(float(torch.dist(a[name], b[name]) / a[name].norm().clamp_min(1e-9)) for name in a)


KILLED = "--workers 4 --minibatch 8 --period 3 --epochs 3 --checkpoint-frames 400 --combine 2"


@pytest.fixture(scope="module")
def whole(frames_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network of KILLED where nothing is killed, of one process."""
    out = tmp_path_factory.mktemp("whole") / "net"
    finish(start(words(frames_folder, out, KILLED)))
    return out


@pytest.mark.timeout(4 * SECONDS)
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds its processes in /proc")
@pytest.mark.parametrize(("victim", "then"), [(0, 1), (1, 4)])
def test_a_killed_process_is_named_and_the_training_goes_on_in_another_number_of_them(
    frames_folder: Path, whole: Path, tmp_path: Path, victim: int, then: int
) -> None:
    cut = tmp_path / "cut"
    running = start(words(frames_folder, cut, f"{KILLED} --processes 2"))
    give_up = time.monotonic() + SECONDS
    while not list(cut.with_name("cut.training").glob("checkpoints/0*[1-9]*")) and time.monotonic() < give_up:
        time.sleep(0.01)
    os.kill(children(running.pid)[victim], signal.SIGKILL)
    said, _ = running.communicate(timeout=SECONDS)
    assert running.returncode != 0
    assert f"rank {1 - victim}: rank {victim}" in said and "lost" in said, said
    assert not cut.exists()
    said = finish(start(words(frames_folder, cut, f"{KILLED} --processes {then} --resume")))
    assert "going on after" in said
    assert distance(whole, cut) < 1e-4


def test_processes_given_other_options_are_refused_with_both_values(frames_folder: Path, tmp_path: Path) -> None:
    both = []
    for rank, rate in enumerate(("0.001", "0.002")):
        given = words(frames_folder, tmp_path / "out", f"--workers 2 --learning-rate {rate}")
        both.append(start(given, RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank), ASR_PARALLEL_LAUNCH="x"))
    said = both[1].communicate(timeout=SECONDS)[0]
    both[0].communicate(timeout=SECONDS)
    assert "rank 1: learning_rate 0.002, but rank 0 has 0.001" in said
    assert both[0].returncode and both[1].returncode


def test_a_meeting_file_of_an_earlier_launch_is_not_taken(frames_folder: Path, tmp_path: Path) -> None:
    stale = '{"launch": "earlier", "size": 2, "address": "127.0.0.1", "port": 9}'
    (tmp_path / "out.rendezvous").write_text(stale)
    given = words(frames_folder, tmp_path / "out", "--workers 2 --processes 2 --minibatch 16 --epochs 1")
    finish(start_really(given))  # from the first import on
    assert not (tmp_path / "out.rendezvous").exists()


DIES_ONCE = """
import os, signal, sys, threading, time
from pathlib import Path
from asr_parallel.cli.main import main

def die_once():
    while not list(Path(sys.argv[1]).glob("checkpoints/0*")):
        time.sleep(0.01)
    Path(sys.argv[2]).touch()
    os.kill(os.getpid(), signal.SIGKILL)

if os.environ["RANK"] == "1" and not Path(sys.argv[2]).exists():
    threading.Thread(target=die_once, daemon=True).start()
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.timeout(3 * SECONDS)
def test_torchrun_starts_all_again_after_one_has_died(frames_folder: Path, whole: Path, tmp_path: Path) -> None:
    """Its store is that of the first attempt, and the training goes on from the checkpoint."""
    script, out = tmp_path / "dies_once.py", tmp_path / "torchrun"
    script.write_text(DIES_ONCE)
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    verb = words(frames_folder, out, KILLED)[3:]
    program = [sys.executable, str(script), f"{out}.training", str(tmp_path / "died"), *verb]
    said = finish(start([*run, "--max-restarts", "1", *program]))
    assert (tmp_path / "died").exists() and "going on after" in said
    assert distance(out, whole) < 1e-4


@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize("exchange", ["models", "posteriors"])
def test_an_ensemble_leaves_all_its_workers(frames_folder: Path, tmp_path: Path, exchange: str) -> None:
    out = tmp_path / "out"
    more = "--algorithm ensemble --workers 3 --period 10 --relabel-fraction 0.05 --minibatch 16 --epochs 1"
    finish(start(words(frames_folder, out, f"{more} --exchange {exchange} --processes 2")))
    ensemble = out / "ensemble"
    names = {"ensemble.json", "held_out.json", "log_prior.npy", "0", "1", "2"}
    assert {path.name for path in ensemble.iterdir()} == names
    described = json.loads((ensemble / "ensemble.json").read_text())
    assert described == {"average": "posterior", "members": [0, 1, 2]}
    held_out = json.loads((ensemble / "held_out.json").read_text())
    losses = [held_out[str(worker)]["loss"] for worker in range(3)]
    assert held_out.keys() == {"0", "1", "2", "all"} and held_out["all"]["loss"] <= sum(losses) / 3 + 1e-6
    best = min(range(3), key=losses.__getitem__)
    assert [distance(ensemble / str(worker), out) == 0 for worker in range(3)] == [n == best for n in range(3)]

    lines = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    rounds = [line for line in lines if line["kind"] == "round"]
    frames = [16 * 10 * 3 * n for n in range(1, 7)]  # of 67 minibatches
    assert [line["frames"] for line in rounds] == frames
    phases = {"local", "exchange", "label", "compress", "other"}
    assert rounds[1]["seconds"].keys() == phases and min(rounds[1]["seconds"].values()) >= 0
    last = [line for line in lines if line["kind"] == "held-out"][-1]
    assert last["loss"] == last["ensemble_loss"] == pytest.approx(held_out["all"]["loss"], rel=1e-6)
    assert last["workers_loss"] == pytest.approx(losses, rel=1e-6) and len(last["workers_accuracy"]) == 3
    stats = json.loads((out / "sync_stats.json").read_text())
    assert [rank["phases"].keys() for rank in stats["ranks"]] == [phases, phases]
    assert [rank["workers"] for rank in stats["ranks"]] == [[0], [1, 2]]
    assert stats["syncs"] == 7 and stats["left_out"] == [0, 0, 0]
    parameters = sum(tensor.numel() for tensor in load_file(out / "net.safetensors").values())
    a_round = 4 * parameters if exchange == "models" else 3 * 16 * 4 * 3  # 3 minibatches, 3 pdfs of 4 bytes a frame
    assert stats["bytes_per_worker"] >= 6 * a_round
    if exchange == "posteriors":
        assert stats["bytes_per_worker"] == 6 * a_round

    alone = tmp_path / "alone"
    finish(start(words(frames_folder, alone, f"{more} --exchange {exchange}")))
    assert max(distance(ensemble / name, alone / "ensemble" / name) for name in "012") < 1e-4


def test_fewer_workers_than_processes_are_refused(frames_folder: Path, tmp_path: Path) -> None:
    process = start(words(frames_folder, tmp_path / "out", "--workers 1 --processes 2"))
    said = process.communicate(timeout=SECONDS)[0]
    assert process.returncode == 1 and "1 workers in 2 processes: expected at least one each" in said


def stack(folder: Path) -> list[torch.Tensor]:
    return [tensor for layer in ("1", "2") for tensor in load_file(folder / layer / "rbm.safetensors").values()]


@pytest.mark.timeout(3 * SECONDS)
def test_rbms_of_four_workers_are_the_same_in_one_two_and_four_processes(frames_folder: Path, tmp_path: Path) -> None:
    """200 rounds and more of both layers, with a period of 1, and a rerun that has nothing to do."""
    base = [*PROGRAM, "pretrain-rbm", "--frames", str(frames_folder)]
    size = "--layers 2 --hidden-dim 15 --minibatch 8 --epochs 2 --precision float32 --threads 1 --timeout 20"
    for processes in (1, 2, 4):
        more = f"{size} --workers 4 --period 1 --processes {processes}"
        finish(start([*base, "--out", str(tmp_path / str(processes)), *more.split()]))
    one, two, four = (stack(tmp_path / str(processes)) for processes in (1, 2, 4))
    for a, b, c in zip(one, two, four, strict=True):
        assert torch.equal(a, b) and torch.equal(a, c)
    again = finish(start([*base, "--out", str(tmp_path / "2"), *f"{size} --workers 4 --period 1".split()]))
    assert again.count("up to date") == 2
