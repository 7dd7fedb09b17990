"""Ensembles that stop in any phase of a round and go on: the same models bit for bit, and the same record."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ensembles import PERIOD, WORKERS, options

from asr_parallel.features.frames import FrameStore
from asr_parallel.record import timer as phases_module
from asr_parallel.record.timer import COMPRESS, EXCHANGE, LABEL, LOCAL, OTHER
from asr_parallel.training.checkpoint import CHECKPOINTS, Checkpoints
from asr_parallel.training.trainer import Trainer

ROUNDS = 67 // PERIOD
TIMES = ("frames_per_second", "data_wait_share", "seconds")
KINDS: dict[str, dict[str, Any]] = {
    "models": {},
    "posteriors": {"exchange": "posteriors", "compress_minibatches": 5},
    "overlap": {"overlap": True},
    "overlap, posteriors": {"overlap": True, "exchange": "posteriors"},
    "adam, labels of the next epoch": {"optimizer": "adam", "learning_rate": 0.001, "minibatch": 64, "epochs": 3},
}
LATE = 2 * PERIOD  # minibatches, after a synchronization


@pytest.fixture(scope="module")
def store(frames_folder: Path) -> FrameStore:
    return FrameStore.open(frames_folder)


def record(work: Path) -> list[dict[str, Any]]:
    """train.jsonl but for times; of rounds the phases' names."""
    every = [json.loads(line) for line in (work / "train.jsonl").read_text().splitlines()]
    return [{n: value for n, value in line.items() if n not in TIMES} for line in every]


def ends(trainer: Trainer, checkpoint_frames: int = 10**9) -> dict[str, bytes]:
    """All that a training leaves, and its workers' models."""
    network = trainer.run(report_frames=300, checkpoint_frames=checkpoint_frames)
    files = {str(path.relative_to(trainer.work)): path.read_bytes() for path in trainer.work.glob("ensemble/**/*.*")}
    models = {"workers": trainer.network.parameters, "delivered": network.net.parameters}
    return {**files, **{name: model.numpy().tobytes() for name, model in models.items()}}


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_in_any_phase_it_goes_on_as_if_it_had_not_been(store: FrameStore, tmp_path: Path, kind: str) -> None:
    """Local training, right after the synchronization, while models come, and in the compression."""
    asked, whole = options(relabel_fraction=0.12 if "adam" in kind else 0.05, **KINDS[kind]), tmp_path / "whole"
    trainer = Trainer(store, asked, whole)
    trainer.checkpoints = Checkpoints(whole / CHECKPOINTS, keep=10**6)
    expected = ends(trainer, checkpoint_frames=1)
    assert {f"ensemble/{name}/net.safetensors" for name in range(WORKERS)} < expected.keys()
    folders = sorted((whole / CHECKPOINTS).iterdir())
    for minibatches in range(LATE - 1, LATE + PERIOD):  # every place of a round
        work = tmp_path / str(minibatches)
        folder = folders[minibatches]  # the first is of the beginning
        (work / CHECKPOINTS).mkdir(parents=True)
        shutil.copytree(folder, work / CHECKPOINTS / folder.name)
        shutil.copyfile(whole / "train.jsonl", work / "train.jsonl")  # what was written until the end
        again = Trainer(store, asked, work)
        checkpoint = again.newest_checkpoint()
        assert checkpoint is not None
        again.resume(checkpoint)
        assert again.number == minibatches
        assert ends(again) == expected, minibatches
        assert record(work) == record(whole), minibatches


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A clock for phases that goes on by one whenever it is looked at; the times it showed."""
    shown: list[int] = []

    def look() -> int:
        shown.append(len(shown))
        return shown[-1]

    monkeypatch.setattr(phases_module, "time", SimpleNamespace(monotonic=look))
    return shown


@pytest.mark.parametrize("kind", KINDS)
def test_every_moment_is_of_one_phase(store: FrameStore, tmp_path: Path, ticks: list[int], kind: str) -> None:
    trainer = Trainer(store, options(relabel_fraction=0.12 if "adam" in kind else 0.05, **KINDS[kind]), tmp_path)
    trainer.run()
    phases = trainer.sync_stats["ranks"][0]["phases"]
    assert set(phases) == {LOCAL, EXCHANGE, LABEL, COMPRESS, OTHER}
    assert sum(phases.values()) == ticks[-1] - ticks[0]
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    rounds = [line for line in lines if line["kind"] == "round"]
    assert len(rounds) == trainer.batches.minibatches_per_epoch * trainer.options.schedule.epochs // PERIOD
    a_round = WORKERS * 16 * PERIOD if kind == "models" else None
    if a_round:
        assert [line["frames"] for line in rounds] == [a_round * n for n in range(1, ROUNDS + 1)]
    for phase, total in phases.items():
        assert sum(line["seconds"].get(phase, 0) for line in rounds) <= total
    assert all(line["seconds"][COMPRESS] > 0 for line in rounds[1:])


def test_a_meeting_is_part_of_the_exchange(store: FrameStore, tmp_path: Path, ticks: list[int]) -> None:
    """Whoever waits there for others does not train."""
    trainer = Trainer(store, options(), tmp_path)
    synchronize = trainer.scheduler.synchronizer.synchronize

    def slow(*args: Any) -> None:
        for _ in range(1000):
            phases_module.time.monotonic()
        synchronize(*args)

    trainer.scheduler.synchronizer.synchronize = slow
    trainer.run()
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    rounds = [line["seconds"] for line in lines if line["kind"] == "round"]
    assert len(rounds) == ROUNDS
    assert all(seconds[EXCHANGE] > 1000 and seconds[LOCAL] < 100 for seconds in rounds)


def test_phases_are_summed(ticks: list[int]) -> None:
    phases = phases_module.Timer(torch.device("cpu"), "a")  # from 0
    phases.enter("b")  # from 1
    with phases.during("c"):  # from 2
        phases.enter("c")  # from 3, the same
    with pytest.raises(KeyError), phases.during("a"):  # from 5; b since 4
        raise KeyError
    assert phases.now == "b" and phases.lap() == {"a": 2, "b": 3, "c": 2}
    assert phases.lap() == {"a": 0, "b": 1, "c": 0} and sum(phases.total.values()) == ticks[-1] == 8
