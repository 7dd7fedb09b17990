"""Asynchronous training in several real processes, by every launcher; and what is refused."""

import json
import socket
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from test_mpirun import MPIRUNS, mpirun
from test_processes import SECONDS, Running, finish, start, start_really, words

from asr_parallel.parallel.asynchronous.client import Address
from asr_parallel.parallel.asynchronous.run_file import check_no_server, find_server, write_run_file
from asr_parallel.parallel.process_info import ProcessInfo
from asr_parallel.record.files import read_json, write_json

MORE = "--algorithm async-elastic --minibatch 16 --period 4"
FRAMES_PER_EPOCH = 3232  # of two workers, in minibatches of 16


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    path = folder / "train.jsonl"
    whole = path.read_text().rpartition("\n")[0] if path.exists() else ""
    return [line for line in map(json.loads, whole.splitlines()) if line["kind"] == kind]


def trained_frames(folder: Path) -> int:
    return max((line["frames"] for line in lines(folder, "train")), default=0)


def wait_for_frames(process: Running, work: Path, frames: int) -> None:
    give_up = time.monotonic() + SECONDS
    while trained_frames(work) < frames:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < give_up
        time.sleep(0.01)


def check_whole(out: Path, epochs: int, unread: int = 0) -> dict[str, Any]:
    """Every minibatch was read once, and something learnt. Returns statistics."""
    held_out = lines(out, "held-out")
    assert held_out[-1]["frames"] == epochs * FRAMES_PER_EPOCH - 16 * unread
    assert held_out[-1]["loss"] < 1.0
    stats: dict[str, Any] = read_json(out / "sync_stats.json")
    assert stats["unread"] == unread and stats["refused"] == 0
    assert sum(stats["staleness"].values()) == stats["syncs"] and sum(stats["queue"].values()) > 0
    assert not out.with_name(f"{out.name}.rendezvous").exists()
    assert not out.with_name(f"{out.name}.training").exists()
    return stats


@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize("algorithm", ["async-elastic", "downpour", "adownpour", "mvadownpour", "mdownpour"])
def test_one_line_trains_with_all_algorithms(frames_folder: Path, tmp_path: Path, algorithm: str) -> None:
    more = "" if algorithm == "mdownpour" else "--period 4"
    if algorithm == "mvadownpour":
        more += " --average-rate 0.1"
    line = f"--workers 4 --processes 2 --algorithm {algorithm} {more} --minibatch 16 --epochs 4"
    said = finish(start(words(frames_folder, tmp_path / "out", line)))
    assert "the center is served at 127.0.0.1:" in said
    stats = read_json(tmp_path / "out" / "sync_stats.json")
    assert stats["unread"] == stats["refused"] == 0 and min(stats["pushes"]) > 0
    first, *_, last = lines(tmp_path / "out", "held-out")
    assert last["loss"] < first["loss"] and last["frames"] > 12_000


@pytest.mark.timeout(2 * SECONDS)
def test_torchrun(frames_folder: Path, tmp_path: Path) -> None:
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    finish(start([*run, *words(frames_folder, tmp_path / "out", f"{MORE} --workers 2 --epochs 4")]))
    check_whole(tmp_path / "out", 4)


@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize("wheel", MPIRUNS)
def test_mpirun(frames_folder: Path, tmp_path: Path, wheel: str) -> None:
    finish(start([*mpirun(wheel), *words(frames_folder, tmp_path / wheel, f"{MORE} --workers 2 --epochs 4")]))
    check_whole(tmp_path / wheel, 4)


def in_ranks(frames: Path, out: Path, more: str, ranks: range, size: int, launch: str = "x") -> list[Running]:
    """Processes started one by one, as a launcher does."""
    return [
        start(words(frames, out, more), RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank),
              ASR_PARALLEL_LAUNCH=launch)
        for rank in ranks
    ]  # fmt: skip


@pytest.mark.timeout(2 * SECONDS)
def test_variables_of_srun(frames_folder: Path, tmp_path: Path) -> None:
    both = [
        start(words(frames_folder, tmp_path / "out", f"{MORE} --workers 2 --epochs 4"), SLURM_PROCID=str(rank),
              SLURM_STEP_NUM_TASKS="2", SLURM_LOCALID=str(rank), SLURM_JOB_ID="1", SLURM_STEP_ID="0")
        for rank in range(2)
    ]  # fmt: skip
    for process in both:
        finish(process)
    check_whole(tmp_path / "out", 4)


@pytest.mark.timeout(2 * SECONDS)
def test_the_program_itself_starts_a_server(frames_folder: Path, tmp_path: Path) -> None:
    """From the first import on; and what is up to date is not made again."""
    line = words(frames_folder, tmp_path / "out", f"{MORE} --workers 2 --processes 2 --epochs 4")
    finish(start_really(line))
    check_whole(tmp_path / "out", 4)
    assert "up to date" in finish(start(line))


@pytest.mark.timeout(2 * SECONDS)
def test_other_options_in_a_worker_are_refused_with_both_values(frames_folder: Path, tmp_path: Path) -> None:
    main, other = tmp_path / "out", f"{MORE} --workers 2 --epochs 4"
    (first,) = in_ranks(frames_folder, main, other, range(1), 2)
    (second,) = in_ranks(frames_folder, main, f"{other} --learning-rate 0.003", range(1, 2), 2)
    said = second.communicate(timeout=SECONDS)[0]
    assert second.returncode == 1
    assert "rank 1: learning_rate 0.003, but rank 0 has 0.002" in said
    finish(first)  # which trains on everything
    assert check_whole(main, 4)["pushes"][1] == 0


@pytest.mark.timeout(2 * SECONDS)
def test_a_second_run_and_strangers_are_refused_while_one_goes_on(frames_folder: Path, tmp_path: Path) -> None:
    out, line = tmp_path / "out", f"{MORE} --workers 2 --processes 2 --epochs 400 --report-frames 400"
    running = start(words(frames_folder, out, line))
    wait_for_frames(running, tmp_path / "out.training", 400)
    run_file = tmp_path / "out.rendezvous"
    found = read_json(run_file)
    assert stat.S_IMODE(run_file.stat().st_mode) == 0o600
    second = start(words(frames_folder, out, line))
    said = second.communicate(timeout=SECONDS)[0]
    assert second.returncode == 1 and "is making it; wait for that to end, or stop it" in said
    with pytest.raises(ValueError, match=rf"serves this run already, at 127\.0\.0\.1:{found['port']};"):
        check_no_server(run_file, read_json(out.with_name("out.training") / "training.json")["identity"]["version"], 9)
    with socket.create_connection((found["address"], found["port"]), SECONDS) as stranger:
        stranger.sendall(bytes(10_000))
        with suppress(ConnectionResetError):
            assert stranger.recv(1) == b""
    wait_for_frames(running, tmp_path / "out.training", trained_frames(tmp_path / "out.training") + 800)
    running.terminate()
    running.communicate(timeout=SECONDS)


def test_a_key_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    path, info = tmp_path / "out.rendezvous", ProcessInfo(1, 2, 1, "x")
    write_run_file(path, info, Address("127.0.0.1", 9, bytes(16)))
    path.chmod(0o640)
    with pytest.raises(ValueError, match="mode 640, so that others may read the key of the run; expected 600"):
        find_server(path, info, "1.0", 1.0)


def test_a_run_that_was_called_off_is_not_waited_for(tmp_path: Path) -> None:
    path, info = tmp_path / "out.rendezvous", ProcessInfo(1, 2, 1, "x")
    write_json(path, {"launch": "x", "size": 2, "called_off": "it is made already"})
    with pytest.raises(ValueError, match="rank 1: it is made already"):
        find_server(path, info, "1.0", 1.0)
