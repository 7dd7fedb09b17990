"""Asynchronous training of a network in one process, which simulates the workers' speeds."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from asr_parallel.parallel.algorithm import BaseAlgorithm
from asr_parallel.parallel.asynchronous.simulation import Event
from asr_parallel.parallel.registry import asynchronous
from asr_parallel.parallel.scheduler import Scheduler
from asr_parallel.parallel.state import Stateful
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.training.async_scheduler import AsyncScheduler
from asr_parallel.training.evaluation import Evaluator, Score
from asr_parallel.training.hooks import TrainingStep
from asr_parallel.training.minibatches import Minibatches
from asr_parallel.training.replicas import Replicas
from asr_parallel.training.trainer import Trainer

Data = Iterator[tuple[Tensor, Tensor]]


class TimedEvaluator(Evaluator):
    """An evaluator whose lines carry modelled seconds."""

    def score(self) -> tuple[Score, dict[str, Any] | None]:
        score, _ = super().score()
        assert isinstance(self._scheduler, AsyncScheduler)
        return score, {"modelled_seconds": self._scheduler.timeline.seconds}


class AsyncTrainer(Trainer):
    """A training by an asynchronous algorithm. A step of the loop is a push.

    Frames are those that the center has got: the model that is evaluated has learnt from all of them. What workers have
    trained on and not pushed yet is not among them. So an epoch ends with the push by which its frames are complete,
    and a worker may be in the next one then.
    """

    evaluator_class = TimedEvaluator

    def start_algorithm(
        self, group: WorkerGroup, batches: Minibatches, train_part: np.ndarray
    ) -> tuple[BaseAlgorithm, Scheduler]:
        options = self.options
        algorithm = asynchronous(options.workers.algorithm)(options.algorithm)
        self.replicas = Replicas(self.network, options.optimization)
        self.exchanges = AsyncScheduler(
            algorithm, group, options.workers, self.replicas.replicas, batches.counts.tolist(),
            options.schedule.epochs, options.optimization.minibatch, options.data.seed,
        )  # fmt: skip
        return algorithm, self.exchanges

    def optimizer_part(self) -> Stateful:
        return self.replicas

    @property
    def skipped(self) -> Tensor:
        return self.replicas.skipped

    @property
    def number(self) -> int:
        """Pushes so far."""
        return self.exchanges.center.version

    def minibatches(self) -> Iterable[Event]:
        """Yield the pushes left of the epoch; in the last one, all that are left."""
        places = ((place.share, place.epoch, place.index) for place in self.exchanges.places_ahead())
        with closing(self.batches.of_replicas(places)) as data:
            for event in self.exchanges.pushes(partial(self._train_replica, data)):
                epoch = self.frames // self.batches.frames_per_epoch
                yield event
                if self.frames // self.batches.frames_per_epoch > epoch and not self._is_last:
                    return

    @property
    def _is_last(self) -> bool:
        return self.frames == self.schedule.total_frames

    def frames_in(self, minibatch: Event) -> np.ndarray:
        frames = np.zeros(self.group.num_workers, dtype=np.int64)
        frames[minibatch.worker] = self.exchanges.workers[minibatch.worker].frames
        return frames

    def ends_epoch(self, frames: int) -> bool:
        per_epoch = self.batches.frames_per_epoch
        return frames // per_epoch > self.frames // per_epoch

    def train_on(self, minibatch: Event, step: TrainingStep) -> None:
        """Push; the minibatches were trained on before."""
        step.learning_rate = self.exchanges.tally.rates[minibatch.worker]
        step.waited_seconds = self.batches.waited_seconds
        step.loss_sums, step.correct, step.max_change_scale = self.exchanges.tally.take(minibatch.worker)
        self.exchanges.push(minibatch)
        step.synced = True

    def _train_replica(self, data: Data, worker: int, frames: int) -> int:
        """Train a worker on the next minibatch. frames: for the learning rate. Return frames trained on."""
        spliced, labels = next(data)
        rate = self.schedule.learning_rate(frames)
        back = self.replicas.train(worker, spliced, labels, rate, self.teacher)
        scale = self.replicas.replicas[worker].optimizer.max_change_scale
        self.exchanges.tally.add(worker, back, scale, rate)
        return int(labels.shape[1])
