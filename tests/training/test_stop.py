"""Trainings that stop on a signal: a checkpoint, a line that says how to resume, and the same network later."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fast_start import Started
from live_processes import alive, children

from asr_parallel.features.frames import FrameStore
from asr_parallel.pretraining import check_features as normalised
from asr_parallel.pretraining.rbm_metrics import Stack
from asr_parallel.pretraining.rbm_options import PretrainOptions
from asr_parallel.pretraining.rbm_trainer import LayerTrainer
from asr_parallel.record.files import read_json
from asr_parallel.record.interrupt import Interrupted, StopRequest
from asr_parallel.training import loop
from asr_parallel.training.train_options import training_options
from asr_parallel.training.trainer import Trainer

SECONDS = 120
PROGRAM = [sys.executable, "-m", "asr_parallel.cli.main"]
Running = subprocess.Popen[str] | Started
NETWORK = "--hidden-layers 1 --hidden-dim 12 --minibatch 8 --precision float32 --threads 1 --combine 0 --epochs"
# No checkpoint is due by frames, so what there is was written at the stop
RARELY = "--checkpoint-frames 1000000000 --report-frames 400"
FOUR_WORKERS = "--workers 4 --period 3 --timeout 20"


def words(frames: Path, out: Path, more: str) -> list[str]:
    base = ["train-dnn", "--frames", str(frames), "--out", str(out)]
    return [*PROGRAM, *base, *f"{NETWORK} {more}".split()]


def start(command: list[str], ignored: signal.Signals | None = None) -> Running:
    """In a session of its own, with signals as in a terminal's foreground, but for one that may be ignored.

    `asr-parallel` is run without its imports, which take seconds.
    """
    if command[: len(PROGRAM)] == PROGRAM:
        return Started(command[len(PROGRAM) :], session=True, ignored=ignored)
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def wait_until_it_trains(process: Running, work: Path) -> None:
    """Past its first lines of train.jsonl, which come some minibatches after the beginning."""
    give_up, lines = time.monotonic() + SECONDS, work / "train.jsonl"
    while process.poll() is None and not (lines.exists() and lines.read_text()) and time.monotonic() < give_up:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()[0]


def checkpoints(work: Path) -> list[int]:
    return sorted(int(path.name) for path in work.glob("checkpoints/0*"))


def ended(pids: list[int], seconds: float = 30.0) -> bool:
    """Return whether processes end before a deadline; kill those left."""
    give_up = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < give_up:
        time.sleep(0.05)
    left = [pid for pid in pids if alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return not left


def stopped(process: Running, work: Path, status: int) -> int:
    """Frames of the checkpoint that a stopped training has written, after what it said was looked at."""
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == status and "Traceback" not in said, said
    frames = checkpoints(work)[-1]
    assert frames > 0
    last = said.splitlines()[-1]
    assert last.startswith("asr-parallel train-dnn: ") and "the same command goes on" in last, said
    assert f"after {frames} frames" in last
    return frames


def same_network(frames: Path, tmp_path: Path, more: str, stopped_at: int) -> None:
    """Go on with tmp_path/cut and compare it with a training that never stopped. Both are made short by --epochs."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    said, _ = start(words(frames, cut, more)).communicate(timeout=SECONDS)
    assert f"going on after {stopped_at} frames" in said, said
    start(words(frames, whole, more)).communicate(timeout=SECONDS)
    assert (whole / "net.safetensors").read_bytes() == (cut / "net.safetensors").read_bytes()


@pytest.mark.timeout(3 * SECONDS)
def test_a_signal_to_a_single_process(frames_folder: Path, tmp_path: Path) -> None:
    more = f"3 {RARELY}"
    process = start(words(frames_folder, tmp_path / "cut", more))
    wait_until_it_trains(process, tmp_path / "cut.training")
    process.send_signal(signal.SIGHUP)
    at = stopped(process, tmp_path / "cut.training", 128 + signal.SIGHUP)
    assert not (tmp_path / "cut").exists()
    same_network(frames_folder, tmp_path, more, at)


@pytest.mark.timeout(3 * SECONDS)
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds its processes in /proc")
@pytest.mark.parametrize(
    ("sent", "to", "algorithm"),
    [
        (signal.SIGHUP, "launcher", "average"),
        (signal.SIGTERM, "launcher", "none"),
        (signal.SIGTERM, "one of them", "gradient"),
    ],
)
def test_a_signal_to_a_launcher_or_to_one_of_its_processes(
    frames_folder: Path, tmp_path: Path, sent: signal.Signals, to: str, algorithm: str
) -> None:
    """All stop after the same minibatch; and a launcher stops whichever process gets the signal."""
    more = f"4 {RARELY} {FOUR_WORKERS} --algorithm {algorithm} --processes 2"
    if algorithm in ("none", "gradient"):
        more = more.replace("--period 3 ", "")
    process = start(words(frames_folder, tmp_path / "cut", more))
    wait_until_it_trains(process, tmp_path / "cut.training")
    pids = children(process.pid)
    assert len(pids) == 2
    if to == "launcher":
        process.send_signal(sent)
    else:
        os.kill(pids[1], sent)
    at = stopped(process, tmp_path / "cut.training", 128 + sent)
    assert ended(pids, 0)
    if sent == signal.SIGHUP:
        same_network(frames_folder, tmp_path, more, at)


@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds its processes in /proc")
@pytest.mark.parametrize("launcher", ["--processes", "torchrun"])
def test_processes_of_a_killed_launcher_end_and_leave_a_checkpoint(
    frames_folder: Path, tmp_path: Path, launcher: str
) -> None:
    more = f"100000 {RARELY} {FOUR_WORKERS}"
    if launcher == "torchrun":
        run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
        process = start([*run, *words(frames_folder, tmp_path / "cut", more)])
    else:
        process = start(words(frames_folder, tmp_path / "cut", f"{more} --processes 2"))
    wait_until_it_trains(process, tmp_path / "cut.training")
    pids = children(process.pid)
    process.kill()
    assert len(pids) == 2 and ended(pids)
    process.communicate(timeout=SECONDS)
    if launcher == "--processes":  # torchrun takes the store along that they would agree in
        assert checkpoints(tmp_path / "cut.training")[-1] > 0


@pytest.mark.timeout(2 * SECONDS)
def test_a_terminal_that_goes_away(frames_folder: Path, tmp_path: Path) -> None:
    """Nothing can be written to it any more, and the checkpoint is written none the less."""
    pid, terminal = os.forkpty()
    if not pid:
        os.environ["OMP_NUM_THREADS"] = "1"
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        command = words(frames_folder, tmp_path / "cut", f"100000 {RARELY}")
        os.execv(command[0], command)
    work, give_up = tmp_path / "cut.training", time.monotonic() + SECONDS
    os.set_blocking(terminal, False)
    while not (work / "train.jsonl").exists() or not (work / "train.jsonl").read_text():
        assert time.monotonic() < give_up
        with suppress(BlockingIOError):
            os.read(terminal, 1 << 16)
        time.sleep(0.01)
    os.close(terminal)
    assert ended([pid])
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + signal.SIGHUP
    assert checkpoints(work)[-1] > 0


@pytest.mark.timeout(2 * SECONDS)
def test_what_was_started_with_nohup_trains_on(frames_folder: Path, tmp_path: Path) -> None:
    process = start(words(frames_folder, tmp_path / "cut", f"100000 {RARELY}"), ignored=signal.SIGHUP)
    work = tmp_path / "cut.training"
    wait_until_it_trains(process, work)
    process.send_signal(signal.SIGHUP)
    before, give_up = (work / "train.jsonl").stat().st_size, time.monotonic() + SECONDS
    while (work / "train.jsonl").stat().st_size < before + 1000 and time.monotonic() < give_up:
        time.sleep(0.01)
    assert process.poll() is None
    process.terminate()
    stopped(process, work, 128 + signal.SIGTERM)


@pytest.mark.timeout(2 * SECONDS)
def test_a_stop_that_cannot_be_agreed_on_falls_back_to_the_last_checkpoint(frames_folder: Path, tmp_path: Path) -> None:
    """One process does not answer any more, and the other gets a signal to stop."""
    more = f"100000 --checkpoint-frames 2000 --report-frames 400 {FOUR_WORKERS} --processes 2"
    process = start(words(frames_folder, tmp_path / "cut", more.replace("--timeout 20", "--timeout 2")))
    work = tmp_path / "cut.training"
    wait_until_it_trains(process, work)
    while checkpoints(work)[-1:] <= [0]:
        time.sleep(0.01)
    first, second = children(process.pid)
    os.kill(second, signal.SIGSTOP)
    os.kill(first, signal.SIGTERM)
    time.sleep(1.0)
    os.kill(second, signal.SIGKILL)
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode != 0 and "Traceback" not in said, said
    last = [line for line in said.splitlines() if "the same command goes on" in line][-1]
    assert f"after {checkpoints(work)[-1]} frames" in last, said


def stop_after(monkeypatch: pytest.MonkeyPatch, last: int) -> None:
    """Have a signal come in a given minibatch."""
    due = loop.StopPoints.due

    def signalled(points: loop.StopPoints, minibatch: int, synced: bool) -> bool:
        if minibatch == last:
            points._request.number = signal.SIGTERM
        return due(points, minibatch, synced)

    monkeypatch.setattr(loop.StopPoints, "due", signalled)


OF_ALGORITHMS = [
    {}, {"overlap": True}, {"algorithm": "block-momentum", "comm_dtype": "int8"}, {"algorithm": "elastic", "ema": 0.9},
    {"algorithm": "gradient", "period": None}, {"algorithm": "colearn", "period": None},
    {"algorithm": "none", "period": None}, {"optimizer": "adam", "schedule": "newbob", "learning_rate": 1e-3},
]  # fmt: skip


def trainer(frames: Path, work: Path, **changes: object) -> Trainer:
    known = {
        "workers": 2, "hidden_layers": 1, "hidden_dim": 8, "minibatch": 64, "epochs": 2, "combine": 0,
        "precision": "float32", "period": 4,
    }  # fmt: skip
    return Trainer(FrameStore.open(frames), training_options(**{**known, **changes}), work)


@pytest.mark.parametrize("more", OF_ALGORITHMS)
def test_stopped_after_any_minibatch_it_goes_on_as_if_it_had_not_been(
    frames_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict
) -> None:
    """The first, one with a synchronization, and the last of an epoch, whose end is still to come."""
    whole = trainer(frames_folder, tmp_path / "whole", **more)
    whole.run()
    an_epoch = whole.batches.minibatches_per_epoch
    for last in (1, 4, an_epoch):
        cut = trainer(frames_folder, tmp_path / str(last), **more)
        with monkeypatch.context() as context, pytest.raises(Interrupted):
            stop_after(context, last)
            cut.run()
        again = trainer(frames_folder, tmp_path / str(last), **more)
        checkpoint = again.newest_checkpoint()
        assert checkpoint is not None and checkpoint.frames == cut.frames > 0
        again.resume(checkpoint)
        assert again.number == last
        again.run()
        assert torch.equal(again.network.parameters, whole.network.parameters), last


@pytest.mark.parametrize(
    ("period", "overlap", "qsr_alpha"),
    [(1, False, None), (3, False, None), (16, False, None), (1, True, None), (5, True, None), (None, False, None),
     (5, False, 0.1)],
)  # fmt: skip
def test_processes_agree_seldom_and_at_meetings(period: int | None, overlap: bool, qsr_alpha: float | None) -> None:
    """With overlap before a synchronization, when the mean of the last one has to come anyway; else at any minibatch
    where periods grow, as these may be long.
    """
    request, agreed = StopRequest(), []
    transport = SimpleNamespace(rank=0, size=2, all_reduce_max=lambda _: agreed.append(minibatch))
    algorithm, options = SimpleNamespace(period=period), SimpleNamespace(overlap=overlap, qsr_alpha=qsr_alpha)
    scheduler = SimpleNamespace(synchronizes=period is not None, algorithm=algorithm, options=options, sync_due=False)
    points = loop.StopPoints(request, transport, scheduler, torch.device("cpu"))
    for minibatch in range(1, 321):
        met = period is not None and minibatch % period == 0
        scheduler.sync_due = period is not None and (minibatch + 1) % period == 0
        points.due(minibatch, met)
    assert 19 <= len(agreed) <= 20
    if period is not None and qsr_alpha is None:
        assert all((minibatch + overlap) % period == 0 for minibatch in agreed)


def test_the_first_checkpoint_is_of_the_beginning(frames_folder: Path, tmp_path: Path) -> None:
    """And gone on from it becomes the same network."""
    whole = trainer(frames_folder, tmp_path / "whole")
    kept = whole.checkpoints
    kept.keep = 10
    whole.run()
    assert checkpoints(tmp_path / "whole")[0] == 0
    for folder in kept._folders()[1:]:
        kept._remove(folder)
    again = trainer(frames_folder, tmp_path / "again")
    checkpoint = kept.newest(range(2))
    assert checkpoint is not None and checkpoint.frames == 0
    again.resume(checkpoint)
    again.run()
    assert torch.equal(again.network.parameters, whole.network.parameters)


def test_checkpoints_come_by_the_clock_too_and_change_nothing(
    frames_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seldom = trainer(frames_folder, tmp_path / "seldom")
    seldom.run()
    often, saved = trainer(frames_folder, tmp_path / "often"), []
    save = often.checkpoints.save
    often.checkpoints.save = lambda frames, *rest: (saved.append(frames), save(frames, *rest))
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    often.run()
    every = often.batches.minibatches_per_epoch * often.options.schedule.epochs
    assert len(set(saved)) == every + 1  # after every minibatch, and at the beginning
    assert torch.equal(often.network.parameters, seldom.network.parameters)


@pytest.mark.parametrize("workers", [1, 2])
def test_rbms_stopped_after_any_minibatch(
    frames_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(normalised, "SMALLEST_VARIANCE", 0.1)  # these features are normalised in mean alone
    options = PretrainOptions(layers=1, hidden_dim=8, minibatch=64, precision="float32", workers=workers)

    def layer(work: Path) -> LayerTrainer:
        return LayerTrainer(FrameStore.open(frames_folder), options, Stack([]), work)

    whole = layer(tmp_path / "whole").run(1000, 10**9)
    for last in (1, 5, layer(tmp_path / "none").batches.minibatches_per_epoch):
        cut = layer(tmp_path / str(last))
        with monkeypatch.context() as context, pytest.raises(Interrupted):
            stop_after(context, last)
            cut.run(1000, 10**9)
        again = layer(tmp_path / str(last))
        checkpoint = again.newest_checkpoint()
        assert checkpoint is not None and checkpoint.frames == cut.frames > 0
        again.resume(checkpoint)
        assert again.minibatch == last
        assert torch.equal(again.run(1000, 10**9).parameters, whole.parameters)


@pytest.mark.timeout(2 * SECONDS)
def test_pretraining_stops_with_a_checkpoint(tmp_path: Path, frames_folder: Path) -> None:
    base = [*PROGRAM, "pretrain-rbm", "--frames", str(frames_folder)]
    size = f"--layers 1 --hidden-dim 12 --minibatch 8 --epochs 5000 --precision float32 --threads 1 {RARELY}"
    process = start([*base, "--out", str(tmp_path / "rbm"), *size.split()])
    work = tmp_path / "rbm" / "1.training"
    wait_until_it_trains(process, work)
    process.send_signal(signal.SIGHUP)
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 128 + signal.SIGHUP, said
    frames = checkpoints(work)[-1]
    assert frames > 0 and f"the same command goes on from the checkpoint after {frames} frames" in said
    assert read_json(work / "training.json")["identity"]["options"]["epochs"] == 5000
