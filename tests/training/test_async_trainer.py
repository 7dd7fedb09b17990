"""Asynchronous training by simulated workers."""

import json
import re
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


@pytest.mark.parametrize(
    ("algorithm", "optimizer"),
    [
        *((name, optimizer) for name in ("async-elastic", "downpour") for optimizer in ("sgd", "nesterov", "ng-sgd")),
        *((name, "sgd") for name in ALGORITHMS[2:]),
    ],
)
def test_it_learns_from_every_minibatch_once(store: FrameStore, tmp_path: Path, algorithm: str, optimizer: str) -> None:
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


@pytest.mark.parametrize("period", [1, 5])
def test_a_lone_downpour_worker_is_plain_sgd_bit_for_bit(store: FrameStore, tmp_path: Path, period: int) -> None:
    same = {"optimizer": "sgd", "combine": 0, "workers": 1}
    _, network = trained(store, options("downpour", period=period, **same), tmp_path / "downpour")
    alone = training_options(
        hidden_layers=2, hidden_dim=16, minibatch=32, epochs=3, learning_rate=0.01, precision="float32", **same
    )
    plain = Trainer(store, alone, tmp_path / "plain").run()
    assert plain is not None
    assert torch.equal(network.net.parameters, plain.net.parameters)


def test_several_workers_are_not_plain_sgd_but_the_same_every_time(store: FrameStore, tmp_path: Path) -> None:
    found = [
        trained(store, options("downpour", workers=3, period=2, **more), tmp_path / str(n))[1].net.parameters
        for n, more in enumerate([{}, {}, {"sim_jitter": 0.21}, {"sim_straggler": 3.0}])
    ]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2]) and not torch.equal(found[0], found[3])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"workers": 2, "elastic_beta": 2.5}, "elastic_beta 2.5 with 2 workers: expected at most 2"),
        ({"workers": 0}, "workers 0: expected a whole number of at least 1"),
        ({"period": 0}, "period 0: expected a whole number of at least 1"),
        ({"algorithm": "mdownpour", "period": 2}, "period 2 is of no use to algorithm mdownpour"),
        ({"overlap": True}, "overlap True is of no use to algorithm async-elastic, only to"),
        ({"comm_dtype": "int8"}, "comm_dtype 'int8' is of no use to algorithm async-elastic, only to"),
        ({"ema": 0.9}, "ema 0.9 is of no use to algorithm async-elastic, only to"),
        ({"optimizer_state": "reset"}, "optimizer_state 'reset' is of no use to algorithm async-elastic, only to"),
        ({"fault_tolerant": True}, "fault_tolerant True is of no use to algorithm async-elastic, only to"),
        ({"keep_workers": True}, "keep_workers: the workers of async-elastic end apart"),
        ({"schedule": "newbob"}, "newbob takes epochs back: expected algorithm"),
        ({"initial": "own"}, "initial own: expected algorithm"),
        ({"algorithm": "average", "sim_jitter": 0.2}, "sim_jitter 0.2 is of no use to algorithm average"),
        ({"algorithm": "downpour", "elastic_beta": 0.9}, "elastic_beta 0.9 is of no use to algorithm downpour"),
    ],
)
def test_options_without_meaning_are_refused_in_one_line(
    store: FrameStore, tmp_path: Path, given: dict[str, object], message: str
) -> None:
    own = {"algorithm": "async-elastic", "workers": 2, **given}
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        AsyncTrainer(store, training_options(**own), tmp_path)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


def test_a_network_that_explodes_ends_the_training(store: FrameStore, tmp_path: Path) -> None:
    wild = {"learning_rate": 1e4, "max_change": 0.0, "max_change_output": 0.0, "max_param_change": 0.0}
    given = options("downpour", workers=3, optimizer="sgd", period=2, **wild)
    with pytest.raises(ValueError, match="training diverged"):
        AsyncTrainer(store, given, tmp_path).run()
