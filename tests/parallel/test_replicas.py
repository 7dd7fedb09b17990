"""A worker trains on the frames that are its own, however many others are beside it: through the trainer, and alone."""

import math
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stand_ins import together
from torch import Tensor

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.choices import OPTIMIZERS
from asr_parallel.nnet.fisher import FisherEstimate
from asr_parallel.nnet.max_change import MaxChange
from asr_parallel.nnet.ng_sgd import NgSgd
from asr_parallel.nnet.spec import layout
from asr_parallel.nnet.stacked import Backward, StackedNetwork
from asr_parallel.parallel.transport import Transport
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.record.json_lines import read_json_lines
from asr_parallel.training import trainer as module
from asr_parallel.training.minibatches import merge_workers
from asr_parallel.training.train_lines import LINES
from asr_parallel.training.train_options import TrainingOptions, training_options
from asr_parallel.training.trainer import Trainer

B = 16  # frames of a worker's minibatch
HISTORY, LIMIT = 2000.0, 0.9  # Kaldi's num-samples-history, and the most that an update forgets
SPEC = dnn(frame_dim=4, context=1, hidden_layers=2, hidden_dim=10, num_pdfs=6, nonlinearity="tanh")


def options(**changes: Any) -> TrainingOptions:
    base: dict[str, Any] = {
        "hidden_layers": 1,
        "hidden_dim": 12,
        "minibatch": B,
        "epochs": 1,
        "learning_rate": 0.004,
        "schedule": "constant",
        "precision": "float32",
        "combine": 0,
        "keep_workers": False,
    }
    return training_options(**{**base, **changes})


@pytest.fixture(scope="module")
def store(frames_folder: Path) -> FrameStore:
    return FrameStore.open(frames_folder)


@pytest.fixture
def updates(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[tuple[int, float]]]:
    """(rank, eta) of all updates so far, by the thread they were in."""
    seen: dict[int, list[tuple[int, float]]] = {}
    update = FisherEstimate.update

    def watched(self: FisherEstimate, J: Tensor, squares: Tensor, num_rows: int) -> bool:
        seen.setdefault(threading.get_ident(), []).append((self.rank, self._eta(num_rows)))
        return update(self, J, squares, num_rows)

    monkeypatch.setattr(FisherEstimate, "update", watched)
    return seen


def eta(rows: float) -> float:
    return min(1 - math.exp(-rows / HISTORY), LIMIT)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("workers", "processes", "algorithm", "rows"),
    [
        (1, 1, "average", B),
        (4, 1, "average", B),
        (4, 2, "average", B),
        (4, 1, "none", B),
        (4, 1, "gradient", 4 * B),
        (4, 2, "gradient", 4 * B),
    ],
)
def test_fisher_estimates_forget_by_the_frames_that_are_theirs(
    store: FrameStore,
    tmp_path: Path,
    updates: dict[int, list[tuple[int, float]]],
    workers: int,
    processes: int,
    algorithm: str,
    rows: int,
) -> None:
    def train(transport: Transport) -> list[int]:
        trainer = Trainer(
            store, options(workers=workers, algorithm=algorithm), tmp_path, None, WorkerGroup(workers, transport)
        )
        trainer.run()
        ends = trainer.batches.frames(0, trainer.batches.minibatches_per_epoch)
        assert len(set(ends)) == (1 if workers == 1 else 2)  # shares are not equal
        return [int(trainer.batches.frames(k, k + 1).sum()) for k in range(trainer.batches.minibatches_per_epoch)]

    (frames, *_) = together(processes, train)
    assert len(updates) == processes
    for etas in updates.values():
        found = sorted({value for _, value in etas})
        if algorithm == "gradient":  # towards the end some workers have no frames left
            assert found == pytest.approx(sorted({eta(count) for count in frames})) and frames[0] == rows
        else:
            assert found == [pytest.approx(eta(rows))]


def test_eta_of_32_replicas_of_64_frames(updates: dict[int, list[tuple[int, float]]]) -> None:
    network = StackedNetwork(SPEC, 32).initialise(0)
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(32, 64, 12, generator=draw), torch.randint(0, 6, (32, 64), generator=draw)
    NgSgd(network, MaxChange()).step(network.backward(x, y), 1e-3, None, 32 * 64)
    assert {round(value, 4) for [*etas] in updates.values() for _, value in etas} == {0.0315}


@pytest.mark.parametrize(("frames", "passes"), [(5, 1), (6, 3)])
def test_first_passes_are_by_the_rows_of_one_replica(
    updates: dict[int, list[tuple[int, float]]], frames: int, passes: int
) -> None:
    """Kaldi: one when rows do not outnumber the rank, which is 5 for the derivatives of 10 hidden units, else three."""
    network = StackedNetwork(SPEC, 4).initialise(0)
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(4, frames, 12, generator=draw), torch.randint(0, 6, (4, frames), generator=draw)
    of = NgSgd(network, None)
    of.step(network.backward(x, y), 1e-3, None, 4 * frames)
    ((*moved,),) = updates.values()
    assert sum(rank == 5 for rank, _ in moved) == passes + 1  # the last is by what is preconditioned


def repeated(trainer: Trainer, replicas: int, minibatches: list[tuple[Tensor, Tensor]]) -> Tensor:
    """(R, P) parameters after the trainer has seen these minibatches (1, N, ...) in every replica."""

    def stream() -> Iterator[tuple[Tensor, Tensor, None]]:
        for spliced, labels in minibatches:
            yield spliced.repeat(replicas, 1, 1), labels.repeat(replicas, 1), None

    trainer.minibatches = stream  # type: ignore[method-assign]
    trainer.run_epoch()
    trainer.optimizer.leave_lookahead()  # as at the end of a training
    return trainer.network.parameters


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_replicas_that_see_the_same_frames_are_one_worker(store: FrameStore, tmp_path: Path, name: str) -> None:
    one = Trainer(store, options(optimizer=name), tmp_path / "1")
    four = Trainer(store, options(optimizer=name, workers=4, algorithm="none"), tmp_path / "4")
    assert torch.equal(four.network.parameters, one.network.parameters.expand(4, -1))
    minibatches = list(islice(one.batches.epoch(0), 15))
    found = repeated(four, 4, minibatches)
    torch.testing.assert_close(found, repeated(one, 1, minibatches).expand(4, -1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_gradient_with_several_workers_is_one_worker_with_all_their_frames(
    store: FrameStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Also at the end of the epoch, where shares are not equally long."""
    several = Trainer(store, options(optimizer=name, workers=4, algorithm="gradient"), tmp_path / "4")
    one = Trainer(store, options(optimizer=name, minibatch=4 * B), tmp_path / "1")
    minibatches: list[tuple[Tensor, Tensor]] = []

    def kept(*args: Any) -> tuple[Tensor, Tensor]:
        minibatches.append(merge_workers(*args))
        return tuple(tensor.clone() for tensor in minibatches[-1])  # type: ignore[return-value]

    monkeypatch.setattr(module, "merge_workers", kept)
    several.run()
    assert {len(labels[0]) for _, labels in minibatches} == {4 * B, 3 * B}
    torch.testing.assert_close(several.network.parameters, repeated(one, 1, minibatches), rtol=1e-5, atol=1e-6)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("processes", [1, 2])
def test_the_share_of_steps_that_limits_keep_is_recorded(store: FrameStore, tmp_path: Path, processes: int) -> None:
    """Mean over the steps of all workers since the last line; workers without frames take none."""

    def train(transport: Transport) -> list[tuple[int, float]]:
        """(frames of all after it, plain share) of this process's steps."""
        rated = options(optimizer="sgd", workers=4, minibatch=32, learning_rate=0.03, nonlinearity="relu")
        trainer = Trainer(store, rated, tmp_path, None, WorkerGroup(4, transport))
        kept: list[tuple[int, float]] = []
        step, places = trainer.optimizer.step, layout(trainer.network.spec)

        def seen(minibatch: Backward, rate: float, active: Tensor | None, count: int) -> None:
            for r in range(trainer.network.replicas):
                if active is None or active[r]:
                    lengths = [
                        rate * math.hypot((d[r].T @ x[r]).norm().item(), d[r].sum(dim=0).norm().item())
                        for x, d in zip(minibatch.inputs, minibatch.derivatives, strict=True)
                    ]
                    limits = [0.75] * (len(places) - 1) + [1.5]
                    short = [min(own, most) for own, most in zip(lengths, limits, strict=True)]
                    kept.append((trainer.frames + count, min(math.hypot(*short), 2.0) / math.hypot(*lengths)))
            step(minibatch, rate, active, count)

        trainer.optimizer.step = seen  # type: ignore[method-assign]
        trainer.run(report_frames=500)
        return kept

    kept = [pair for of_process in together(processes, train) for pair in of_process]
    lines = [line for line in read_json_lines(tmp_path / LINES) if line["kind"] == "train"]
    assert len(lines) > 4 and sum(share < 0.99 for _, share in kept) > len(kept) // 4
    before = 0
    for line in lines:
        since = [share for frames, share in kept if before < frames <= line["frames"]]
        assert line["max_change_scale"] == pytest.approx(np.mean(since), rel=1e-4)
        before = line["frames"]
