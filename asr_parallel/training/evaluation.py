"""Loss, accuracy and mean posterior of networks on rows of a frame store."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.outputs import Outputs
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.parallel.scheduler import Scheduler
from asr_parallel.parallel.sync_info import DivergedError
from asr_parallel.parallel.transport import SingleProcess, Transport
from asr_parallel.parallel.worker_group import WorkerGroup, every_model
from asr_parallel.record.timer import OTHER, NoTimer, Timer
from asr_parallel.training.hooks import Hook, TrainingStep
from asr_parallel.training.metrics_logger import MetricsLogger

DIVERGED = "training diverged"  # beginning of such errors; a comparison marks its cells by it
BLOCK_FRAMES = 4096  # forwarded at once
MEAN_BYTES = 256 << 20  # of posteriors in memory until the next model comes


@dataclass(frozen=True, slots=True)
class Score:
    """Mean cross-entropy (nats a frame) and share of frames whose label has the highest posterior."""

    loss: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class WorkersScore:
    """Scores of each worker's model (infinite losses for those that are not finite), and of the others' mean output."""

    workers: list[Score]
    ensemble: Score

    def fields(self) -> dict[str, Any]:
        """Return JSON values; None for what is not finite."""
        return {
            "workers_loss": [one.loss if math.isfinite(one.loss) else None for one in self.workers],
            "workers_accuracy": [one.accuracy for one in self.workers],
            "ensemble_loss": self.ensemble.loss,
            "ensemble_accuracy": self.ensemble.accuracy,
        }

    @property
    def best(self) -> int:
        """The worker with the least loss."""
        return min(range(len(self.workers)), key=lambda worker: self.workers[worker].loss)


class Evaluator:
    """Evaluates the models of a running training on held-out frames. Collective."""

    def __init__(
        self,
        store: FrameStore,
        rows: np.ndarray,
        network: StackedNetwork,
        scheduler: Scheduler,
        ensemble_average: str,
        each_worker: bool,
        ema: bool,
    ) -> None:
        """Take what to evaluate.

        Args:
            rows: held-out rows of the store.
            network: of this process's workers.
            ensemble_average: see nnet/outputs.py.
            each_worker: whether every worker is evaluated, too.
            ema: whether the scheduler keeps a moving average.
        """
        self._store, self._rows, self._network, self._scheduler = store, rows, network, scheduler
        self._group, self._algorithm = scheduler.group, scheduler.algorithm
        self._outputs, self._each = Outputs(ensemble_average), each_worker
        alone = self._group.num_workers == 1 or self._algorithm.shared_replica
        same = alone and not (self._algorithm.has_separate_global_model or ema)
        self._global = network if same else StackedNetwork(network.spec, 1, network.device, network.dtype)

    def score(self) -> tuple[Score, dict[str, Any] | None]:
        """Return the score of the global model, or of the ensemble, and JSON values of each worker if asked for."""
        if not self._each:
            return self._of_model(), None
        of_each = self.of_workers()
        return of_each.ensemble if self._algorithm.ensemble else self._of_model(), of_each.fields()

    def of_workers(self) -> WorkersScore:
        """Return the scores of those whose model and whose loss are finite; DivergedError when there are none."""
        finite_mask = self._scheduler.finite_mask(self._network)
        while finite_mask.any():
            score = evaluate_workers(self._network, finite_mask, self._outputs, self._store, self._rows, self._group)
            finite = np.array([math.isfinite(of_one.loss) for of_one in score.workers])
            if (finite == finite_mask).all():
                return score
            finite_mask = finite  # finite parameters, but products that overflow: not in the ensemble either
        raise DivergedError(f"{DIVERGED}: no worker's model and held-out loss are finite")

    def _of_model(self) -> Score:
        if self._global is not self._network:
            self._global.take(self._scheduler.model(self._network))
        return evaluate(self._global, self._store, self._rows, self._group.transport)


class PeriodicEvaluation(Hook):
    """Evaluations on held-out data within an epoch; its end has its own."""

    def __init__(
        self, evaluator: Evaluator, metrics: MetricsLogger, frames: int | None, timer: Timer | NoTimer
    ) -> None:
        """Take the frames between two evaluations; None: none within an epoch."""
        self._evaluator, self._metrics, self._frames, self._timer = evaluator, metrics, frames, timer

    def due(self, step: TrainingStep) -> bool:
        return step.crosses(self._frames)

    def on_batch(self, step: TrainingStep) -> None:
        if self.due(step) and not step.last:
            with self._timer.during(OTHER):
                score, per_worker = self._evaluator.score()
            self._metrics.held_out(step.frames, score.loss, score.accuracy, more=per_worker)


def evaluate(network: StackedNetwork, store: FrameStore, rows: np.ndarray, transport: Transport | None = None) -> Score:
    """Return the score of the first replica on some rows of a store, a part of them in each process. Collective."""
    transport = transport or SingleProcess()
    own = rows[len(rows) * transport.rank // transport.size : len(rows) * (transport.rank + 1) // transport.size]
    sums = torch.zeros(2, dtype=torch.float64, device=network.device)
    for first, logits in _logits(network, store, own):
        log_posterior = torch.log_softmax(logits, dim=1, dtype=torch.float32)
        sums += _counted(log_posterior, _labels(store, own[first : first + len(logits)], network.device))
    frames = max(1, len(rows))
    total_loss, total_correct = transport.all_reduce_scalars(sums.tolist())
    return Score(total_loss / frames, total_correct / frames)


def evaluate_workers(
    network: StackedNetwork,
    finite_mask: np.ndarray,
    outputs: Outputs,
    store: FrameStore,
    rows: np.ndarray,
    group: WorkerGroup,
) -> WorkersScore:
    """Return the scores of every worker and of their ensemble on some rows of a store. Collective.

    The models are broadcast one after the other, as in EC-DNN, and again for every MEAN_BYTES of posteriors.

    Args:
        network: (R) models of this process's workers.
        finite_mask: (K,) bool: whose model is finite, one at least.
    """
    rank, size = group.transport.rank, group.transport.size
    own = rows[len(rows) * rank // size : len(rows) * (rank + 1) // size]
    workers, teacher = (
        np.flatnonzero(finite_mask).tolist(),
        StackedNetwork(network.spec, 1, network.device, network.dtype),
    )
    sums = torch.zeros(
        2, group.num_workers + 1, dtype=torch.float64, device=network.device
    )  # the last: of all together
    at_once = max(1, MEAN_BYTES // (4 * network.spec.num_pdfs))
    for start in range(0, -(-len(rows) // size), at_once):
        part = own[start : start + at_once]
        total = torch.zeros(len(part), network.spec.num_pdfs, device=network.device)
        for worker, model in every_model(group, network.parameters, workers):
            teacher.take(model)
            for first, logits in _logits(teacher, store, part):
                piece = slice(first, first + len(logits))
                log_posterior = torch.log_softmax(logits, dim=1, dtype=torch.float32)
                sums[:, worker] += _counted(log_posterior, _labels(store, part[piece], network.device))
                total[piece].add_(outputs.of_one(logits), alpha=1 / len(workers))
        for first, mean in enumerate(torch.split(total, BLOCK_FRAMES)):
            piece = slice(first * BLOCK_FRAMES, first * BLOCK_FRAMES + len(mean))
            sums[:, -1] += _counted(outputs.log_posterior(mean), _labels(store, part[piece], network.device))
    group.transport.all_reduce(sums)
    losses, correct = (sums / max(1, len(rows))).cpu().numpy()
    scores = [Score(float(loss), float(right)) for loss, right in zip(losses, correct, strict=True)]
    lost = Score(np.inf, 0.0)
    return WorkersScore([score if worker in workers else lost for worker, score in enumerate(scores[:-1])], scores[-1])


def mean_posterior(network: StackedNetwork, store: FrameStore, rows: np.ndarray) -> np.ndarray:
    """Return (num_pdfs,) float64, the first replica's mean posterior on some rows of a store."""
    total = torch.zeros(network.spec.num_pdfs, dtype=torch.float64, device=network.device)
    for _, logits in _logits(network, store, rows):
        total += torch.softmax(logits, dim=1, dtype=torch.float32).sum(dim=0, dtype=torch.float64)
    mean: np.ndarray = (total / max(1, len(rows))).cpu().numpy()
    return mean


def _logits(network: StackedNetwork, store: FrameStore, rows: np.ndarray) -> Iterator[tuple[int, Tensor]]:
    """Yield the number of rows so far and logits (B, num_pdfs) of the first replica, block after block."""
    one = network.replica(0)
    for start in range(0, len(rows), BLOCK_FRAMES):
        spliced = torch.from_numpy(store.gather(rows[start : start + BLOCK_FRAMES])).to(network.device, network.dtype)
        yield start, one.logits(spliced[None])[0]


def _labels(store: FrameStore, rows: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(store.labels[rows].astype(np.int64)).to(device)


def _counted(log_posterior: Tensor, labels: Tensor) -> Tensor:
    """Return (2,) float64, the loss summed over (B, num_pdfs) frames, and how many have the label as best pdf."""
    of_label = log_posterior.gather(1, labels[:, None]).squeeze(1)
    right = (of_label >= log_posterior.amax(dim=1)).sum()
    return torch.stack([-of_label.sum(dtype=torch.float64), right.double()])
