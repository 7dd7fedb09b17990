"""A run that goes on without a lost process, and workers that are of no use for a while."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from live_processes import children
from stand_ins import together
from test_processes import SECONDS, Running, distance, finish, start, words

from asr_parallel.features.frames import FrameStore
from asr_parallel.parallel.transport import SingleProcess, Transport
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.record.files import read_json
from asr_parallel.training.final_model import Exporter
from asr_parallel.training.run_training import train_into
from asr_parallel.training.train_options import training_options
from asr_parallel.training.trainer import Trainer

RUN = (
    "--workers 4 --minibatch 8 --period 3 --epochs 5 --combine 2 --optimizer sgd --timeout 5 --report-frames 500"
    " --checkpoint-frames 3000"
)


def kill(running: Running, victim: int, work: Path) -> None:
    """Kill a rank when there is a checkpoint."""
    give_up = time.monotonic() + SECONDS
    while not list(work.glob("checkpoints/0*[1-9]*")) and time.monotonic() < give_up:
        time.sleep(0.01)
    os.kill(children(running.pid)[victim], signal.SIGKILL)


@pytest.mark.timeout(3 * SECONDS)
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds its processes in /proc")
def test_workers_of_a_lost_process_move_and_the_model_is_what_it_would_have_been(
    frames_folder: Path, tmp_path: Path
) -> None:
    """SGD has no state that could be lost."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    finish(start(words(frames_folder, whole, RUN)))
    running = start(words(frames_folder, cut, f"{RUN} --processes 4 --fault-tolerant"))
    kill(running, 2, tmp_path / "cut.training")
    said = finish(running)
    assert "rank 2 of 4 lost; worker 2 moved; going on in 3 processes" in said
    assert distance(whole, cut) < 1e-4
    assert sorted(k for rank in read_json(cut / "sync_stats.json")["ranks"] for k in rank["workers"]) == [0, 1, 2, 3]


@pytest.mark.timeout(3 * SECONDS)
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds its processes in /proc")
def test_who_keeps_the_store_cannot_be_survived(frames_folder: Path, tmp_path: Path) -> None:
    running = start(words(frames_folder, tmp_path / "cut", f"{RUN} --processes 2 --fault-tolerant"))
    kill(running, 0, tmp_path / "cut.training")
    said, _ = running.communicate(timeout=SECONDS)
    assert running.returncode != 0
    assert "rank 1: rank 0, which kept the store of the run, is lost" in said
    assert list((tmp_path / "cut.training" / "checkpoints").glob("0*")) and not (tmp_path / "cut").exists()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """So small products are slower on several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trainer(frames: Path, work: Path, **changes: object) -> Trainer:
    known = {
        "workers": 3, "hidden_layers": 1, "hidden_dim": 16, "minibatch": 16, "epochs": 2, "combine": 0,
        "precision": "float32", "learning_rate": 0.002, "period": 4,
    }  # fmt: skip
    return Trainer(FrameStore.open(frames), training_options(**{**known, **changes}), work)


@pytest.mark.parametrize("algorithm", ["average", "block-momentum", "elastic"])
def test_a_worker_that_returns_nan_is_left_out_counted_and_goes_on_from_the_others(
    frames_folder: Path, tmp_path: Path, algorithm: str, caplog: pytest.LogCaptureFixture
) -> None:
    of = trainer(frames_folder, tmp_path, algorithm=algorithm)
    step, steps = of.optimizer.step, []

    def faulty(*args: object) -> None:
        step(*args)
        steps.append(1)
        if len(steps) in (20, 50):
            of.network.parameters[1] = torch.nan
            of.network.parameters_changed()

    of.optimizer.step = faulty
    network = of.run()
    assert network is not None and bool(network.net.parameters.isfinite().all())
    assert of.scheduler.measures.left_out.tolist() == [0, 2, 0]
    assert bool(of.network.parameters.isfinite().all()) and of.evaluator.score()[0].accuracy > 0.6
    assert sum("worker 1 left out" in message for message in caplog.messages) == 2


def test_a_far_worse_worker_is_left_out(frames_folder: Path, tmp_path: Path) -> None:
    of = trainer(frames_folder, tmp_path)
    of.network.layers.biases[-1][2, 0] = 50.0
    of.network.parameters_changed()
    of.run()
    assert of.scheduler.measures.left_out.tolist() == [0, 0, 1]


def test_when_no_worker_is_of_use_the_training_stops(frames_folder: Path, tmp_path: Path) -> None:
    of = trainer(frames_folder, tmp_path)
    of.network.parameters.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"training diverged: at synchronization 1 no worker's model is valid"):
        of.run()


def test_sites_are_workers(frames_folder: Path, tmp_path: Path) -> None:
    """Nothing that a site's speakers said is seen by another worker."""
    store = FrameStore.open(frames_folder)
    speakers = sorted(set(store.speakers))
    (tmp_path / "sites").write_text(
        "".join(f"{name} {'north' if k % 3 else 'south'}\n" for k, name in enumerate(speakers))
    )
    of = trainer(
        frames_folder, tmp_path / "work", algorithm="colearn", workers=2, period=None, sites=str(tmp_path / "sites")
    )
    counts = of.batches.counts
    assert counts[0] > 1.5 * counts[1]  # north comes first
    of.run()
    with pytest.raises(ValueError, match=r"sites: 2 sites with training data for 3 workers"):
        trainer(frames_folder, tmp_path, algorithm="colearn", period=None, sites=str(tmp_path / "sites"))
    with pytest.raises(ValueError, match=r"sites: 2 sites with training data for 1 workers"):
        trainer(frames_folder, tmp_path, workers=1, sites=str(tmp_path / "sites"))
    (tmp_path / "sites").write_text(f"{speakers[0]} a\n")
    with pytest.raises(ValueError, match=r"no site for speaker \w+ and \d+ more"):
        trainer(frames_folder, tmp_path, algorithm="colearn", workers=2, period=None, sites=str(tmp_path / "sites"))
    (tmp_path / "sites").write_text("a b c\n")
    with pytest.raises(ValueError, match=r"sites:1: 'a b c'; expected a speaker, once, and its site"):
        trainer(frames_folder, tmp_path, algorithm="colearn", workers=2, period=None, sites=str(tmp_path / "sites"))


@pytest.mark.parametrize("more", [
    {"overlap": True}, {"comm_dtype": "int8", "ema": 0.9}, {"algorithm": "block-momentum"},
                                  {"algorithm": "elastic"}, {"algorithm": "gradient", "period": None},
                                  {"algorithm": "colearn", "period": None}, {"algorithm": "none", "period": None},
])  # fmt: skip
def test_going_on_from_a_checkpoint_changes_nothing(frames_folder: Path, tmp_path: Path, more: dict) -> None:
    straight = trainer(frames_folder, tmp_path / "straight", **more)
    straight.run(checkpoint_frames=1000)
    again = trainer(frames_folder, tmp_path / "again", **more)
    found = straight.checkpoints
    names = sorted(path.name for path in found.folder.iterdir())
    checkpoint = None
    if len(names) > 1:  # the last one is of the very end
        (found.folder / names[-1]).rename(found.folder / ".aside")
        checkpoint = found.newest(again.stored_workers)
    assert checkpoint is not None and checkpoint.frames < straight.frames
    again.resume(checkpoint)
    again.run()
    np.testing.assert_array_equal(
        again.scheduler.model(again.network).numpy(), straight.scheduler.model(straight.network).numpy()
    )


class Emptied(SingleProcess):
    """The others, which are lost, had no worker."""

    def shrink_group(self) -> list[int]:
        return [0]


@pytest.mark.parametrize("more", [
    {"optimizer": "momentum", "comm_dtype": "int8"}, {"schedule": "newbob", "optimizer": "adam", "learning_rate": 1e-3},
    {"algorithm": "elastic", "optimizer": "nesterov"},
])  # fmt: skip
@pytest.mark.parametrize("back", [-1, -2])
def test_whoever_stays_goes_on_as_it_was_at_the_meeting(
    frames_folder: Path, tmp_path: Path, more: dict, back: int
) -> None:
    """With the optimiser's state and the best model of then, whatever was trained since."""
    options = {"fault_tolerant": True, **more}
    of = trainer(frames_folder, tmp_path / "of", **options)
    of.run()
    assert of.recovery is not None
    snapshots = list(of.recovery.snapshots)
    of.recovery.snapshots.clear()
    of.recovery.snapshots.append(snapshots[back])
    object.__setattr__(of.group, "transport", Emptied())
    group, state = of.recovery.recover(OSError())
    assert group.local_workers == (0, 1, 2) and state.values["loop"]["frames"] == snapshots[back].frames < of.frames
    again = trainer(frames_folder, tmp_path / "again", **options)
    again.load_state_dict(state)
    again.run()
    assert torch.equal(again.network.parameters, of.network.parameters) and again.frames == of.frames


def test_the_beginning_is_one_to_go_back_to_also_from_its_checkpoint(
    frames_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = trainer(frames_folder, tmp_path, fault_tolerant=True).options
    snapshots = []

    def stopped(of: Trainer, *_: object) -> None:
        snapshots.append([snapshot.frames for snapshot in of.recovery.snapshots])
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "run_epoch", stopped)
    for resume in (False, True):
        with pytest.raises(KeyboardInterrupt):
            train_into(None, tmp_path / "work", frames_folder, options, resume, 500, 500)
    assert snapshots == [[0], [0]]


@pytest.mark.parametrize("algorithm", ["gradient", "average"])
def test_steps_left_out_are_counted_once_whatever_the_processes(
    frames_folder: Path, tmp_path: Path, algorithm: str
) -> None:
    options = trainer(frames_folder, tmp_path, algorithm=algorithm, period=None, epochs=1).options

    def job(transport: Transport) -> None:
        of = Trainer(FrameStore.open(frames_folder), options, tmp_path / "work", None, WorkerGroup(3, transport))
        of.optimizer.skipped += 5
        of.run()

    together(2, job)
    lines = [json.loads(line) for line in (tmp_path / "work" / "train.jsonl").read_text().splitlines()]
    assert {line["skipped"] for line in lines} == {5 if algorithm == "gradient" else 15}


class Counting(SingleProcess):
    """Counts calls that wait for others."""

    calls = 0

    def all_gather_object(self, value: object) -> list[object]:
        self.calls += 1
        return [value]


@pytest.mark.parametrize("algorithm", ["average", "gradient"])
def test_a_delivery_that_fails_is_done_again_and_nobody_waits_for_it(
    frames_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    """Others have nothing to say while rank 0 delivers, which may take longer than they wait for an answer."""
    export_model, transport, before = Exporter.export_model, Counting(), []
    options = trainer(frames_folder, tmp_path, algorithm=algorithm, period=None).options

    def failing(*_: object) -> None:
        raise KeyboardInterrupt

    def counting(*arguments: object) -> object:
        before.append(transport.calls)
        return export_model(*arguments)

    def train(resume: bool) -> None:
        (tmp_path / "out").mkdir(exist_ok=True)
        train_into(tmp_path / "out", tmp_path / "work", frames_folder, options, resume, 500, 500, transport=transport)

    monkeypatch.setattr(Exporter, "export_model", failing)
    with pytest.raises(KeyboardInterrupt):
        train(False)
    monkeypatch.setattr(Exporter, "export_model", counting)
    train(True)
    assert before == [transport.calls]
    assert read_json(tmp_path / "out" / "sync_stats.json")["left_out"] == [0, 0, 0]
