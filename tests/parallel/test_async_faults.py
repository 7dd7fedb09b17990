"""Asynchronous training when something breaks: slow, killed and late workers, a killed server, signals."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from live_processes import alive, children
from test_async_processes import MORE, check_whole, in_ranks, trained_frames, wait_for_frames
from test_processes import SECONDS, Running, finish, start, words

from asr_parallel.training.checkpoint import Checkpoints

OFTEN = "--report-frames 100 --checkpoint-frames 1000"
LONG = f"{MORE} --workers 2 --epochs 15 {OFTEN} --combine 2"
pytestmark = [
    pytest.mark.timeout(3 * SECONDS),
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds its processes in /proc"),
]


def checkpointed(work: Path) -> int:
    return Checkpoints(work / "checkpoints").last_frames or 0


def wait_for_checkpoint(running: Running, work: Path) -> None:
    give_up = time.monotonic() + SECONDS
    while not checkpointed(work):
        assert running.poll() is None, running.communicate()[0]
        assert time.monotonic() < give_up
        time.sleep(0.01)


def wait_until_gone(pids: list[int]) -> None:
    give_up = time.monotonic() + SECONDS
    while any(map(alive, pids)):
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_a_worker_ten_times_slower_slows_nobody(frames_folder: Path, tmp_path: Path) -> None:
    """It stands still nine tenths of the time; the other takes over what it does not come to."""
    out, work = tmp_path / "out", tmp_path / "out.training"
    running = start(words(frames_folder, out, f"{LONG} --processes 2"))
    wait_for_frames(running, work, 400)
    _, slow = children(running.pid)
    os.kill(slow, signal.SIGSTOP)
    wait_for_frames(running, work, trained_frames(work) + 4_000)  # while it stands still
    ended = threading.Event()

    def slow_down() -> None:
        while not ended.wait(0.01) and alive(slow):
            os.kill(slow, signal.SIGSTOP)
            ended.wait(0.09)
            os.kill(slow, signal.SIGCONT)

    os.kill(slow, signal.SIGCONT)
    thread = threading.Thread(target=slow_down)
    thread.start()
    try:
        finish(running)
    finally:
        ended.set()
        thread.join()
    stats = check_whole(out, 15)
    assert stats["gone"] == [] and 0 < 2 * stats["pushes"][1] < stats["pushes"][0]


@pytest.mark.parametrize("unread", [False, True])
def test_what_a_killed_worker_had_left_is_handed_over_or_reported(
    frames_folder: Path, tmp_path: Path, unread: bool
) -> None:
    out, work = tmp_path / "out", tmp_path / "out.training"
    running = start(words(frames_folder, out, f"{LONG} --processes 2 {'--leave-unread' if unread else ''}"))
    wait_for_frames(running, work, 2_000)
    os.kill(children(running.pid)[1], signal.SIGKILL)
    said = finish(running)
    assert "worker 1 in rank 1" in said and "is lost" in said
    if unread:
        assert " minibatches were not read, of workers that were lost" in said
        left = (15 * 3232 - trained_frames(out)) // 16
        assert left > 0
        stats = check_whole(out, 15, left)
    else:
        stats = check_whole(out, 15)
    assert stats["gone"] == [1] and stats["pushes"][1] > 0


def test_a_worker_that_stands_still_counts_as_lost_after_the_timeout(frames_folder: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "out", tmp_path / "out.training"
    running = start(words(frames_folder, out, f"{LONG} --processes 2".replace("--epochs 15", "--epochs 8 --timeout 3")))
    wait_for_frames(running, work, 400)
    _, still = children(running.pid)
    os.kill(still, signal.SIGSTOP)
    give_up = time.monotonic() + SECONDS
    while not (out / "sync_stats.json").exists():
        assert time.monotonic() < give_up and running.poll() is None
        time.sleep(0.02)
    os.kill(still, signal.SIGKILL)
    finish(running)
    assert check_whole(out, 8)["gone"] == [1]


def test_a_worker_comes_late_and_another_comes_back(frames_folder: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "out", tmp_path / "out.training"
    (main,) = in_ranks(frames_folder, out, LONG, range(1), 2)
    wait_for_frames(main, work, 2_000)  # alone
    (late,) = in_ranks(frames_folder, out, LONG, range(1, 2), 2)
    give_up = time.monotonic() + SECONDS
    late_frames = trained_frames(work)
    wait_for_frames(main, work, late_frames + 4_000)
    late.kill()
    late.wait(SECONDS)
    (back,) = in_ranks(frames_folder, out, LONG, range(1, 2), 2)
    finish(main)
    finish(back)
    assert time.monotonic() < give_up
    stats = check_whole(out, 15)
    assert stats["pushes"][1] > 0


def test_a_killed_server_ends_the_workers_and_the_same_command_goes_on(frames_folder: Path, tmp_path: Path) -> None:
    out, work, line = tmp_path / "out", tmp_path / "out.training", f"{LONG} --processes 2"
    running = start(words(frames_folder, out, line))
    wait_for_checkpoint(running, work)
    ranks = children(running.pid)
    (server,) = children(ranks[0])
    os.kill(server, signal.SIGKILL)
    said, _ = running.communicate(timeout=SECONDS)
    assert running.returncode == 1 and "Traceback" not in said, said
    wait_until_gone(ranks)
    frames = checkpointed(work)
    assert frames > 0 and "rank 0" in said and "the server of the run is lost" in said
    assert f"the same command goes on from the checkpoint after {frames} frames" in said
    said = finish(start(words(frames_folder, out, line)))
    assert f"going on after {frames} frames" in said
    check_whole(out, 15)


@pytest.mark.parametrize("to", ["launcher", "one of them"])
def test_sigterm_writes_a_checkpoint_and_stops_all(frames_folder: Path, tmp_path: Path, to: str) -> None:
    out, work = tmp_path / "out", tmp_path / "out.training"
    line = f"{LONG} --processes 2".replace("--checkpoint-frames 1000", "--checkpoint-frames 1000000000")
    running = start(words(frames_folder, out, line))
    wait_for_frames(running, work, 2_000)
    ranks = children(running.pid)
    if to == "launcher":
        running.terminate()
    else:
        os.kill(ranks[1], signal.SIGTERM)
    said, _ = running.communicate(timeout=SECONDS)
    assert running.returncode == 128 + signal.SIGTERM and "Traceback" not in said, said
    wait_until_gone(ranks)
    frames = checkpointed(work)
    assert frames >= 2_000
    assert f"the same command goes on from the checkpoint after {frames} frames" in said.splitlines()[-1]
    assert f"going on after {frames} frames" in finish(start(words(frames_folder, out, line)))
    check_whole(out, 15)


def test_a_killed_rank_0_ends_server_and_workers(frames_folder: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "out", tmp_path / "out.training"
    running = start(words(frames_folder, out, f"{LONG} --processes 2"))
    wait_for_checkpoint(running, work)
    ranks = children(running.pid)
    pids = [*ranks, *children(ranks[0])]
    os.kill(ranks[0], signal.SIGKILL)
    said, _ = running.communicate(timeout=SECONDS)
    assert running.returncode != 0 and "rank 1, worker 1: the server of the run is lost" in said
    wait_until_gone(pids)
    assert checkpointed(work) > 0
