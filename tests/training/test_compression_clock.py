"""What the modelled clock counts of an ensemble's round is what a round does: forward passes, models on their way."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ensembles import PERIOD, WORKERS, watched
from torch import Tensor

from asr_parallel.clock.interconnect import Interconnect, all_reduce, broadcast
from asr_parallel.clock.modelled_clock import ModelledClock
from asr_parallel.features.frames import FrameStore
from asr_parallel.parallel.cost import StepCost
from asr_parallel.parallel.ecdnn import ensemble as ensemble_module
from asr_parallel.parallel.ecdnn.compression import Compression, labelling_turns

MINIBATCH, MINIBATCHES, RELABELLED = 16, 67, 4
LATENCY = Interconnect("latency", 1.0, math.inf, "made up")  # seconds are numbers of messages
LABEL = 1e-6  # seconds, which hide nothing


@pytest.mark.parametrize(("exchange", "teachers"), [("models", "all"), ("models", "others"), ("posteriors", "all")])
@pytest.mark.parametrize("fit", [1, 3, 99])
def test_an_ensembles_round(
    frames_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: str, teachers: str, fit: int
) -> None:
    """fit: labelled minibatches of a worker that are in memory at once."""
    store = FrameStore.open(frames_folder)
    one = 4 * MINIBATCH * (store.spliced_dim + store.num_pdfs)
    together = WORKERS if exchange == "models" else 1  # in this one process
    limited = partial(Compression, labelled_bytes=fit * one * together)
    monkeypatch.setattr(ensemble_module, "Compression", limited)
    monkeypatch.setattr(ensemble_module, "labelling_turns", partial(labelling_turns, limit=fit * one))
    seen = watched(store, tmp_path, exchange=exchange, teachers=teachers, relabel_fraction=RELABELLED / MINIBATCHES)
    rows = count(monkeypatch, seen.trainer.compression._teacher, "logits", lambda x: x.shape[0] * x.shape[1])
    models = count(monkeypatch, seen.trainer.group.transport, "start_broadcast", lambda tensor, source: 1)
    in_rounds = []
    met = seen.trainer.compression.after_sync

    def counted(done: int) -> None:
        before = len(models)
        met(done)
        in_rounds.append(len(models) - before)  # at the end members' losses travel too

    monkeypatch.setattr(seen.trainer.compression, "after_sync", counted)
    seen.trainer.run()
    rounds = len(in_rounds)
    assert rounds == MINIBATCHES // PERIOD

    work = StepCost(1.0, MINIBATCH, 1000, LABEL, label_bytes=one)
    options, frames = seen.trainer.options, WORKERS * MINIBATCH * MINIBATCHES
    epoch = ModelledClock(options.workers, work, LATENCY, frames, constants=options.algorithm).epoch()
    a_round = PERIOD / MINIBATCHES
    losses, passing = all_reduce(LATENCY, WORKERS, 1), broadcast(LATENCY, WORKERS, 1)
    parts = 1 if exchange == "models" else 2  # posteriors and whose they are
    assert sum(rows) / rounds == pytest.approx(WORKERS * MINIBATCH * epoch.label * a_round / LABEL)
    assert sum(in_rounds) / rounds / parts == pytest.approx((epoch.exchange * a_round - losses) / passing, rel=1e-4)


def count(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, of: Callable[..., int]) -> list[int]:
    """One number for each time it is called from now on."""
    called, numbers = getattr(where, name), []

    def counted(*args: Tensor) -> Any:
        numbers.append(of(*args))
        return called(*args)

    monkeypatch.setattr(where, name, counted)
    return numbers


def test_posteriors_are_labelled_before_anybody_tells(
    frames_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else processes would label one after the other, each waiting for all before it."""
    seen = watched(FrameStore.open(frames_folder), tmp_path, exchange="posteriors")
    order: list[str] = []
    for where, name in (
        (seen.trainer.compression._teacher, "logits"),
        (seen.trainer.group.transport, "start_broadcast"),
    ):
        count(monkeypatch, where, name, lambda *args, name=name: order.append(name) or 0)
    seen.trainer.compression.after_sync(PERIOD)
    first_broadcast = order.index("start_broadcast")
    assert first_broadcast == WORKERS * seen.trainer.algorithm.relabelled and "logits" not in order[first_broadcast:]
    assert seen.trainer.compression._soft.probabilities.isfinite().all()
