"""Asynchronous training by simulated workers."""

import json
from pathlib import Path

import pytest
import torch

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.network import Network
from asr_parallel.training.async_trainer import AsyncTrainer
from asr_parallel.training.train_options import TrainingOptions, training_options
from asr_parallel.training.trainer import Trainer

ALGORITHMS = ("async-elastic", "downpour", "adownpour", "mvadownpour", "mdownpour")


@pytest.fixture(scope="module")
def store(frames_folder: Path) -> FrameStore:
    return FrameStore.open(frames_folder)


def options(algorithm: str, **changes: object) -> TrainingOptions:
    base: dict[str, object] = {
        "hidden_layers": 2, "hidden_dim": 16, "minibatch": 32, "epochs": 3, "learning_rate": 0.01,
        "precision": "float32", "sim_jitter": 0.2,
    }  # fmt: skip
    return training_options(**{**base, **changes, "algorithm": algorithm})  # type: ignore[arg-type]


def lines(work: Path, kind: str) -> list[dict]:
    every = [json.loads(line) for line in (work / "train.jsonl").read_text().splitlines()]
    return [line for line in every if line["kind"] == kind]


def trained(store: FrameStore, given: TrainingOptions, work: Path) -> tuple[AsyncTrainer, Network]:
    trainer = AsyncTrainer(store, given, work)
    network = trainer.run(report_frames=500)
    assert network is not None
    return trainer, network


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "ng-sgd"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_it_learns_from_every_minibatch_once(
    store: FrameStore, tmp_path: Path, algorithm: str, optimizer: str
) -> None:
    more = {} if algorithm == "mdownpour" else {"period": 4}
    if algorithm == "mvadownpour":
        more["average_rate"] = 0.1
    trainer, _ = trained(store, options(algorithm, optimizer=optimizer, workers=3, epochs=6, **more), tmp_path)
    held_out = lines(tmp_path, "held-out")
    assert held_out[-1]["frames"] == trainer.exchanges.center.frames == 6 * trainer.batches.frames_per_epoch
    assert held_out[-1]["accuracy"] > 0.6
    seconds = [line["modelled_seconds"] for line in held_out]
    assert seconds == sorted(seconds) and seconds[0] > 0
    stats = trainer.sync_stats
    assert sum(stats["staleness"].values()) == stats["syncs"] and max(map(int, stats["staleness"])) >= 1
    assert stats["left_out"] == [0, 0, 0]
