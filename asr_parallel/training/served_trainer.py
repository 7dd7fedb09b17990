"""Asynchronous training of a network in several processes, with a server that has the center."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from asr_parallel.features.frames import FrameStore
from asr_parallel.parallel.algorithm import BaseAlgorithm
from asr_parallel.parallel.asynchronous.board import ServedRun
from asr_parallel.parallel.asynchronous.life import Place
from asr_parallel.parallel.registry import asynchronous
from asr_parallel.parallel.scheduler import Scheduler
from asr_parallel.parallel.state import State, Stateful
from asr_parallel.parallel.transport import START_SECONDS
from asr_parallel.parallel.worker_group import WorkerGroup, neighbours
from asr_parallel.record.interrupt import Interrupted, StopRequest
from asr_parallel.training.checkpoint import Checkpoint
from asr_parallel.training.hooks import TrainingStep
from asr_parallel.training.minibatches import Minibatches
from asr_parallel.training.replicas import Replicas
from asr_parallel.training.served_scheduler import Data, ServedScheduler
from asr_parallel.training.train_options import TrainingOptions
from asr_parallel.training.trainer import Trainer


@dataclass(frozen=True)
class Observation:
    """The center's progress as rank 0 has seen it: frames, and sums over them by name (service.py)."""

    frames: int
    measured: dict[str, float]


class ServedTrainer(Trainer):
    """A process's part in a training whose center a server has.

    Every process trains its workers (`work`). In rank 0 that is the loop of `run`: between two of its own steps it sees
    how far the center has come, and that is a step of the loop, after which it evaluates the center's model, writes
    metrics and checkpoints. A checkpoint has the center and what is left to train on. Workers that go on from it start
    from the center, as late ones do, with an optimiser that starts anew.
    """

    def __init__(
        self, store: FrameStore, options: TrainingOptions, work: Path, stack: Path | None, served: ServedRun
    ) -> None:
        """Set up; see Trainer. `served`: this process's part in the run."""
        self.served, self._over = served, False
        self._request = StopRequest()
        self._skipped = torch.zeros(1, dtype=torch.int64)
        super().__init__(store, options, work, stack, WorkerGroup(options.workers.workers))
        self.stored_workers = []

    def modelled_workers(self, group: WorkerGroup) -> Sequence[int]:
        return neighbours(group.num_workers, self.served.rank, self.served.size)

    def start_algorithm(
        self, group: WorkerGroup, batches: Minibatches, train_part: np.ndarray
    ) -> tuple[BaseAlgorithm, Scheduler]:
        options = self.options
        algorithm = asynchronous(options.workers.algorithm)(options.algorithm)
        self.replicas = Replicas(self.network, options.optimization)
        workers = neighbours(group.num_workers, self.served.rank, self.served.size)
        self.exchanges = ServedScheduler(
            algorithm, group, options.workers, self.served, self.replicas.replicas, workers, batches.counts.tolist(),
            options.schedule.epochs,
        )  # fmt: skip
        return algorithm, self.exchanges

    def optimizer_part(self) -> Stateful:
        return self.replicas

    def _make_hooks(self) -> None:
        super()._make_hooks()
        self.parts = {"scheduler": self.exchanges, "schedule": self.schedule}

    @property
    def skipped(self) -> Tensor:
        return self._skipped

    @property
    def number(self) -> int:
        """Pushes so far."""
        return self.exchanges.num_syncs

    @property
    def finished(self) -> bool:
        return self._over

    def resume(self, checkpoint: Checkpoint) -> None:
        self.load_state_dict(State(checkpoint.tensors, values=checkpoint.state))

    def train(self, request: StopRequest, device: torch.device, checkpoint_frames: int) -> None:
        """Begin the run, and train to the end; see Loop.train."""
        self._request = request
        self.exchanges.begin()
        self.served.broadcast_object(True)
        self.exchanges.join()
        self._actions = self._act()
        super().train(request, device, checkpoint_frames)
        self.exchanges.center.leave()

    def work_for_center(self) -> None:
        """Train this process's workers until nothing is left. Ranks other than 0.

        Raises:
            Interrupted: by a signal, which any of the processes got; when what was learnt is pushed.
            LostError: the server is lost.
        """
        self.served.broadcast_object(None, START_SECONDS)
        with StopRequest() as request:
            self.exchanges.join()
            told = False
            for _ in self._act():
                if request.number and not told:
                    self.served.client.call("stop", request.number)
                    told = True
            self.exchanges.center.leave()
        if self.exchanges.center.stopping:
            raise Interrupted(self.exchanges.center.stopping, "")

    def minibatches(self) -> Iterable[Observation]:
        """Yield what rank 0 sees of an epoch, while its workers train."""
        for _ in self._actions:
            if self._is_to_stop() or self.exchanges.frames > self.frames:
                before = self.frames
                seen = self._observe()
                yield seen
                if self._crosses_epoch(before, seen.frames) and seen.frames < self._total:
                    return
        self._over = not self._is_to_stop()  # else others are about to push
        seen = self._observe()
        if seen.frames > self.frames or not self._over:
            yield seen
        if self._over and self.frames < self._total:  # minibatches of lost workers: the models to combine are the last
            step = self._step(self._total)
            self.last_models.on_batch(step)

    def _is_to_stop(self) -> bool:
        """Return whether a signal has come, to this process or another one."""
        self._request.number = self._request.number or self.exchanges.center.stopping
        return self._request.number != 0

    def _observe(self) -> Observation:
        frames, measured, total = self.exchanges.observe()
        self._skipped.fill_(int(total["skipped"]))
        return Observation(frames, measured)

    @property
    def _total(self) -> int:
        assert self.schedule.total_frames is not None
        return self.schedule.total_frames

    def _crosses_epoch(self, before: int, frames: int) -> bool:
        per_epoch = self.batches.frames_per_epoch
        return frames // per_epoch > before // per_epoch

    def _step(self, frames: int) -> TrainingStep:
        return TrainingStep(
            before=self.frames, frames=frames, number=self.number, last=True, worker_frames=np.zeros(0), synced=False
        )

    def frames_in(self, minibatch: Observation) -> np.ndarray:
        frames = np.zeros(self.group.num_workers, dtype=np.int64)
        frames[0] = minibatch.frames - self.frames  # all workers' together
        return frames

    def ends_epoch(self, frames: int) -> bool:
        return self._over or self._crosses_epoch(self.frames, frames)

    def train_on(self, minibatch: Observation, step: TrainingStep) -> None:
        """Take what was measured; the workers have trained before."""
        measured = minibatch.measured
        step.learning_rate = self.schedule.learning_rate(self.frames)
        step.waited_seconds = self.batches.waited_seconds
        step.loss_sums, step.correct = torch.zeros(2, self.group.num_workers, dtype=torch.float64)
        step.loss_sums[0], step.correct[0] = measured["loss_sum"], measured["correct"]
        applied = int(measured["applied"])
        step.max_change_scale = torch.full((applied,), measured["scale_sum"] / max(1, applied))
        step.synced = True

    def may_save(self, step: TrainingStep) -> bool:
        """Return whether the losses since the last step are low enough; none were seen, perhaps, before a stop."""
        assert step.loss_sums is not None
        if self._request.number or step.frames == step.before:
            return bool(step.loss_sums.isfinite().all())
        return super().may_save(step)

    def save(self) -> None:
        if self._request.number:
            self.exchanges.stop(self._request.number, self._actions, self.served.timeout)
        super().save()

    def _act(self) -> Iterator[None]:
        """Let this process's workers act."""

        def read(places: Iterable[Place]) -> Generator[tuple[Tensor, Tensor], None, None]:
            return self.batches.of_replicas((place.share, place.epoch, place.index) for place in places)

        return self.exchanges.actions(self._train_replica, read)

    def _train_replica(self, n: int, data: Data, frames: int) -> int:
        """Train this process's n-th worker on the next minibatch; return its frames."""
        spliced, labels = next(data)
        back = self.replicas.train(n, spliced, labels, self.schedule.learning_rate(frames), self.teacher)
        self.exchanges.measure(n, back, self.replicas.replicas[n].optimizer.max_change_scale)
        return int(labels.shape[1])
