"""A training whose center a server has: stops when a signal is easily lost, and how leases are read."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from served import SECONDS, client, fetched, serving

from asr_parallel.features.frames import FrameStore
from asr_parallel.parallel.asynchronous.board import ServedRun
from asr_parallel.parallel.asynchronous.client import Address
from asr_parallel.record.interrupt import Interrupted
from asr_parallel.training import served_scheduler
from asr_parallel.training.checkpoint import Checkpoint
from asr_parallel.training.served_trainer import ServedTrainer
from asr_parallel.training.train_options import training_options

PERIOD, MINIBATCH = 4, 16
pytestmark = pytest.mark.timeout(3 * SECONDS)


def rank_0(frames: Path, work: Path, address: Address, size: int, period: int = PERIOD) -> ServedTrainer:
    """Rank 0 of so many processes, with two workers in all."""
    options = training_options(
        algorithm="downpour", workers=2, period=period, minibatch=MINIBATCH, epochs=2, hidden_layers=1, hidden_dim=8,
        precision="float32", learning_rate=0.002,
    )  # fmt: skip
    served = ServedRun(0, size, address, client(address), "1.0", SECONDS)
    return ServedTrainer(FrameStore.open(frames), options, work, None, served)


def before_minibatch(trainer: ServedTrainer, number: int, act: Callable[[], None]) -> list[int]:
    """Act at this process's minibatch of a number, from 1. Returns those that were trained on, growing."""
    measure, measured = trainer.exchanges.measure, list[int]()

    def counted(n: int, *of: Any) -> None:
        measured.append(n)
        if len(measured) == number:
            act()
        measure(n, *of)

    trainer.exchanges.measure = counted  # type: ignore[method-assign]
    return measured


def center_frames(checkpoint: Checkpoint) -> int:
    return int(checkpoint.state["scheduler"]["center"]["frames"])


class Other:
    """Worker 1, in rank 1: it takes minibatches, and pushes when all others are done."""

    def __init__(self, address: Address) -> None:
        self.address = address

    def come(self) -> None:
        self.client = client(self.address, 1, 1)
        self.client.lease()

    def push_and_leave(self, parameters: int) -> None:
        params = fetched(self.client, parameters)
        self.client.push(torch.zeros_like(params), self.client.version, PERIOD * MINIBATCH)
        self.client.call("status")
        self.client.leave()


@pytest.mark.parametrize("signalled", [0, 1])
def test_a_stop_while_rank_0_waits_for_others_is_not_lost(
    frames_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signalled: int
) -> None:
    """Its own workers are done, and there was no push since it last looked."""
    with serving() as (server, address):
        trainer, other = rank_0(frames_folder, tmp_path, address, 2), Other(address)
        before_minibatch(trainer, 1, other.come)
        waits = []

        def wait(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 1 and signalled:
                other.client.call("stop", signal.SIGTERM)
            elif len(waits) == 1:
                trainer._request.number = signal.SIGTERM
            elif len(waits) == 2:
                other.push_and_leave(trainer.network.parameters.shape[1])

        monkeypatch.setattr(served_scheduler, "time", SimpleNamespace(sleep=wait, monotonic=time.monotonic))
        with pytest.raises(Interrupted) as raised:
            trainer.run()
        trainer.exchanges.center.end_signs()
        assert raised.value.number == server.service.stopping == signal.SIGTERM and len(waits) >= 2
        total = trainer.schedule.total_frames
    checkpoint = trainer.newest_checkpoint()
    assert checkpoint is not None
    assert center_frames(checkpoint) == total  # with what the other pushed at last
    with serving() as (server, address):
        again = rank_0(frames_folder, tmp_path, address, 1)
        again.resume(checkpoint)
        assert again.run() is not None
        assert server.service.run is not None
        assert server.service.run.center.frames == total and server.service.run.leases.unread == 0


def test_workers_of_rank_0_push_what_they_have_learnt_before_a_stop(frames_folder: Path, tmp_path: Path) -> None:
    with serving() as (_, address):
        trainer = rank_0(frames_folder, tmp_path, address, 1)

        def stop() -> None:
            trainer._request.number = signal.SIGTERM

        measured = before_minibatch(trainer, 3, stop)  # within the first period of both workers
        with pytest.raises(Interrupted):
            trainer.run()
        trainer.exchanges.center.end_signs()
    checkpoint = trainer.newest_checkpoint()
    assert checkpoint is not None
    assert center_frames(checkpoint) == len(measured) * MINIBATCH == 2 * PERIOD * MINIBATCH


def test_leases_of_one_minibatch_are_read_as_one_stream(
    frames_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as (_, address):
        trainer = rank_0(frames_folder, tmp_path, address, 1, period=1)
        streams = []
        read = trainer.batches.of_replicas
        monkeypatch.setattr(trainer.batches, "of_replicas", lambda places: streams.append(1) or read(places))
        measured = before_minibatch(trainer, 0, lambda: None)
        assert trainer.run() is not None
    assert len(measured) > 200 and len(streams) < len(measured) // 10  # new ones where a worker helps the other
